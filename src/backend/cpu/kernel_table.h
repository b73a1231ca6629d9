#pragma once

#include "backend/cpu/attention_kernels.h"
#include "backend/cpu/linear_kernels.h"
#include "backend/cpu/op_kernels.h"

namespace sluice::backend::cpu {

// All kernels over one vector vocabulary.
template <class V>
constexpr Kernels kernels_of(const char* name) {
  return {name,
          tile_kernel_of<V>,
          Quantizer<V>::run,
          Ops<V>::sum_of_squares,
          Ops<V>::scale_by,
          Ops<V>::silu_times,
          Ops<V>::gelu_times,
          Ops<V>::soft_cap,
          Ops<V>::rotate,
          Ops<V>::to_f16,
          Ops<V>::to_q8,
          AttentionKernel<V>::attend,
          AttentionKernel<V>::fold};
}

}  // namespace sluice::backend::cpu
