#include "backend/cpu/dispatch.h"

#include "base/cpu_features.h"
#include "base/error.h"

namespace sluice::backend::cpu {

const Kernels& choose_kernels(const std::string& force_isa) {
  const CpuFeatures& features = cpu_features();
  const auto require = [&](bool is_there) {
    if (!is_there) {
      throw Error(ErrorCode::kUnsupported, "this processor cannot run \"" + force_isa +
                                               "\" kernels: choose another instruction set");
    }
  };
  if (force_isa == "generic") return generic_kernels();
  if (force_isa == "avx2") {
    require(features.avx2);
    return avx2_kernels();
  }
  if (force_isa == "avx512" || force_isa == "amx") {
    require(force_isa == "amx" ? features.amx : features.avx512_vnni);
    return force_isa == "amx" ? amx_kernels() : avx512_kernels();
  }
  if (!force_isa.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "unknown instruction set \"" + force_isa +
                    "\": choose generic, avx2, avx512 or amx, or leave it out");
  }
  // As avx512 for few tokens; four times its rate for many.
  if (features.amx) return amx_kernels();
  // One vpdpbusd does the work of three AVX2 instructions on twice the width.
  if (features.avx512_vnni) return avx512_kernels();
  if (features.avx2) return avx2_kernels();
  return generic_kernels();
}

}  // namespace sluice::backend::cpu
