#pragma once

#include <cstdint>

namespace sluice::simt {

struct ProbeArgs {
  float* out = nullptr;
  const float* in = nullptr;
  int count = 0;
  int flag = 0;  // which fault; 0: none
  uint32_t* counter = nullptr;
};

struct LanesArgs {
  uint32_t* out;  // [32, some]
};

struct LoadMatrixArgs {
  uint32_t* out;       // [32, count]
  const uint16_t* in;  // [32, 8]
  int count;           // 2 or 4
  bool is_transposed;
};

struct ProductArgs {
  float* c;           // [16, 8]
  const uint16_t* a;  // [16, 16]
  const uint16_t* b;  // [16, 8]
  int stride;
  bool is_bf16;
};

}  // namespace sluice::simt
