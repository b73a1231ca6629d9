#pragma once

#include <array>
#include <cstdint>

namespace sluice::backend {

// Philox4x32-10: random numbers by counter (Salmon et al. 2011, "Parallel random numbers: as easy
// as 1, 2, 3"). The same on every device: a draw depends on key and counter alone.
constexpr std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter,
                                         std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// The draw of a sequence with `seed` at `position` (how many tokens it has drawn before): in [0,
// 1), 53 bits.
constexpr double uniform_draw(uint64_t seed, uint64_t position) {
  const auto bits =
      philox({static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), 0, 0},
             {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return static_cast<double>((uint64_t{bits[1]} << 32 | bits[0]) >> 11) * 0x1p-53;
}

}  // namespace sluice::backend
