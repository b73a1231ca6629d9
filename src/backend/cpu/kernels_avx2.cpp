#include "backend/cpu/kernel_table.h"
#include "backend/cpu/linear_avx2.h"

namespace sluice::backend::cpu {

const Kernels& avx2_kernels() {
  static constexpr Kernels kernels = kernels_of<Avx2>("avx2");
  return kernels;
}

}  // namespace sluice::backend::cpu
