#pragma once

#include <cstdint>
#include <random>

namespace sluice {

// 64 bits that nobody can guess.
inline uint64_t random_seed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace sluice
