#include "backend/cpu/kernel_table.h"
#include "backend/cpu/lanes_avx512.h"

namespace sluice::backend::cpu {

const Kernels& avx512_kernels() {
  static constexpr Kernels kernels = kernels_of<Avx512>("avx512-vnni");
  return kernels;
}

}  // namespace sluice::backend::cpu
