#include "backend/cpu/kernel_table.h"
#include "backend/cpu/lanes_generic.h"
#include "quant/codec.h"

namespace sluice::backend::cpu {

void Generic::store_f16(uint16_t* p, F x) {
  for (int i = 0; i < kLanes; ++i) p[i] = quant::f32_to_f16(x[i]);
}

const Kernels& generic_kernels() {
  static constexpr Kernels kernels = kernels_of<Generic>("generic");
  return kernels;
}

}  // namespace sluice::backend::cpu
