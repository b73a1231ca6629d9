#include "server/version.h"

#include <cstdio>

#include "backend/cuda/cuda_backend.h"
#include "base/cpu_features.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/settings.h"

namespace sluice::cli {

void add_version(Command& program) {
  Command command = program.subcommand("version", "Print the version");
  command.action([] {
    const CpuFeatures& cpu = cpu_features();
    std::printf("sluice version %s\n", std::string(server::kVersion).c_str());
    std::printf("interface of Ollama %s\n", std::string(server::kOllamaVersion).c_str());
    std::printf("%s%s%s%s%s\n", cpu_model_name().c_str(), cpu.avx2 ? ", AVX2" : "",
                cpu.avx512_vnni ? ", AVX-512 VNNI" : "", cpu.avx512_bf16 ? ", AVX-512 BF16" : "",
                cpu.amx ? ", AMX" : "");
    std::string reason;
    const auto devices = backend::list_cuda_devices(read_settings().cuda_driver, reason);
    for (const backend::CudaDevice& device : devices) {
      std::printf("cuda:%d %s, %s%s%s\n", device.index, device.name.c_str(),
                  format_bytes(device.memory_bytes).c_str(), device.fault.empty() ? "" : ", ",
                  device.fault.c_str());
    }
    if (devices.empty()) {
      std::printf("CUDA: %s%s\n", backend::has_cuda() ? "built in; " : "", reason.c_str());
    }
  });
}

}  // namespace sluice::cli
