#include "server/version.h"

#include <cstdio>

#include "base/cpu_features.h"
#include "cli/commands.h"

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
  });
}

}  // namespace sluice::cli
