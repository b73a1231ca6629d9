#pragma once

// From the file's rows to tiles (packing_layout.h), and back: what packing.cpp (host) and the
// kernels that pack and look rows up walk matrices with.

#include <bit>
#include <cstdint>

#include "backend/cuda/packing_layout.h"
#include "quant/blocks.h"
#include "quant/half.h"

namespace sluice::backend::cuda {

SLUICE_ANYWHERE void store_word(uint8_t* to, uint32_t word) {  // `to` is aligned to 4 bytes
  *reinterpret_cast<uint32_t*>(to) = word;
}
SLUICE_ANYWHERE uint32_t load_word(const uint8_t* from) {
  return *reinterpret_cast<const uint32_t*>(from);
}
SLUICE_ANYWHERE uint32_t two_halves(uint32_t low, uint32_t high) { return low | high << 16; }

// Six-bit scales of 8 groups: low four bits in a word, nibble n of it of group n; so that
// (word & 0x0f0f0f0f) are those of groups 0, 2, 4, 6, a byte each, and (word >> 4 & 0x0f0f0f0f)
// those of groups 1, 3, 5, 7. The two high ones are in a word for both rows of a pair: byte j has,
// from bit 0 on, those of row g, group 2 j; row g, 2 j + 1; row g + 8, 2 j; row g + 8, 2 j + 1.
SLUICE_ANYWHERE void split_six_bits(const uint32_t (&scales)[2][8], uint32_t (&low)[2],
                                    uint32_t& high) {
  high = 0;
  for (int r = 0; r < 2; ++r) {
    low[r] = 0;
    for (int n = 0; n < 8; ++n) {
      low[r] |= (scales[r][n] & 15u) << (4 * n);
      high |= (scales[r][n] >> 4) << (8 * (n / 2) + 4 * r + 2 * (n % 2));
    }
  }
}

// Packs what row pair g (rows g and g + 8) has in a chunk. `blocks[r]` are the file's blocks of the
// chunk's columns; a null pointer, and columns from `num_columns` on (all 256 but in the last
// chunk), are zeros. Fills every byte of the chunk that is the row pair's.
template <quant::Type kType>
SLUICE_ANYWHERE void pack_row_pair(const typename Format<kType>::Block* const (&blocks)[2],
                                   int num_columns, uint8_t* chunk, int g) {
  using F = Format<kType>;
  const int num_quarters = (num_columns + kQuarterColumns - 1) / kQuarterColumns;
  for (int quarter = 0; quarter < num_quarters; ++quarter) {
    for (int t = 0; t < 4; ++t) {
      uint32_t words[code_words(F::kCodes)] = {};
      for (int r = 0; r < 2; ++r) {
        for (int k = 0; k < 16; ++k) {
          const int i = k / 8;
          const int column = kQuarterColumns * quarter + kBlockColumns * i + octet_column(t, k % 8);
          if (blocks[r] == nullptr || column >= num_columns) continue;
          const uint32_t code =
              F::code(blocks[r][column / F::kBlockElements], column % F::kBlockElements);
          const CodePlace place = code_place(F::kCodes, i, r, k % 8);
          for (const CodePiece& piece : place.pieces) {
            const uint32_t mask = piece.bits == 32 ? ~0u : (1u << piece.bits) - 1u;
            words[piece.word] |= (code >> piece.from & mask) << piece.at;
          }
        }
      }
      for (int w = 0; w < code_words(F::kCodes); ++w) {
        store_word(chunk + quarter * F::kQuarterBytes + word_offset(F::kCodes, 4 * g + t, w),
                   words[w]);
      }
    }
  }
  uint8_t* record = chunk + num_quarters * F::kQuarterBytes;
  if constexpr (F::kScales == Scales::kHalf || F::kScales == Scales::kHalfMin ||
                F::kScales == Scales::kExponent) {
    for (int r = 0; r < 2; ++r) {
      const int row = g + 8 * r;
      uint32_t d[8] = {}, m[8] = {};
      for (int n = 0; n < 8; ++n) {
        if (blocks[r] == nullptr || 32 * n >= num_columns) continue;
        const auto& block = blocks[r][n];
        if constexpr (F::kScales == Scales::kExponent) {
          d[n] = block.e;
        } else {
          d[n] = block.d;
          if constexpr (F::kScales == Scales::kHalfMin) m[n] = block.m;
        }
      }
      if constexpr (F::kScales == Scales::kExponent) {
        for (int w = 0; w < 2; ++w) {
          store_word(record + row * 8 + 4 * w,
                     d[4 * w] | d[4 * w + 1] << 8 | d[4 * w + 2] << 16 | d[4 * w + 3] << 24);
        }
      } else {
        for (int w = 0; w < 4; ++w) {
          store_word(record + row * 16 + 4 * w, two_halves(d[2 * w], d[2 * w + 1]));
          if constexpr (F::kScales == Scales::kHalfMin) {
            store_word(record + 256 + row * 16 + 4 * w, two_halves(m[2 * w], m[2 * w + 1]));
          }
        }
      }
    }
  }
  if constexpr (F::kScales == Scales::kSixMin) {
    uint32_t scales[2][8] = {}, minima[2][8] = {}, low[2], high;
    for (int r = 0; r < 2; ++r) {
      for (int n = 0; n < 8 && blocks[r] != nullptr; ++n) {
        const quant::ScaleAndMin pair = quant::scale_and_min(blocks[r]->scales, n);
        scales[r][n] = pair.scale;
        minima[r][n] = pair.min;
      }
    }
    split_six_bits(scales, low, high);
    for (int r = 0; r < 2; ++r) {
      const bool is_there = blocks[r] != nullptr;
      store_word(record + 16 * g + 4 * r,
                 is_there ? two_halves(blocks[r]->d, blocks[r]->dmin) : 0u);
      store_word(record + 16 * g + 8 + 4 * r, low[r]);
    }
    for (int t = 0; t < 4; ++t) {
      uint32_t word = two_halves(minima[0][2 * t] | minima[1][2 * t] << 6,
                                 minima[0][2 * t + 1] | minima[1][2 * t + 1] << 6);
      for (int nibble = 0; nibble < 8; ++nibble) {
        if (high_bits_lane(nibble) == t) {
          word |= (high >> (4 * nibble) & 15u) << high_bits_at(nibble);
        }
      }
      store_word(record + 128 + 4 * (4 * g + t), word);
    }
  }
  if constexpr (F::kScales == Scales::kSix) {
    uint32_t scales[2][8] = {}, low[2], high;
    for (int r = 0; r < 2; ++r) {
      for (int n = 0; n < 8 && blocks[r] != nullptr; ++n) scales[r][n] = F::scale(*blocks[r], n);
    }
    split_six_bits(scales, low, high);
    store_word(record + 8 * g, low[0]);
    store_word(record + 8 * g + 4, low[1]);
    store_word(record + 64 + 4 * g, high);
    store_word(record + 96 + 4 * g, two_halves(blocks[0] == nullptr ? 0 : blocks[0]->d,
                                               blocks[1] == nullptr ? 0 : blocks[1]->d));
  }
  if constexpr (F::kScales == Scales::kFourMin || F::kScales == Scales::kEightHalves ||
                F::kScales == Scales::kSixHalves) {
    for (int r = 0; r < 2; ++r) {
      const int row = g + 8 * r;
      uint32_t words[4] = {}, d = 0, dmin = 0;
      if (blocks[r] != nullptr) {
        d = blocks[r]->d;
        for (int n = 0; n < 16; ++n) {
          uint32_t byte = 0;
          if constexpr (F::kScales == Scales::kSixHalves) {
            // Word n / 8: low nibbles of bytes, groups 8 u .. 8 u + 3, high nibbles the next four.
            const uint32_t scale = F::scale(*blocks[r], n);
            words[n / 8] |= (scale & 15u) << (8 * (n % 4) + 4 * (n / 4 % 2));
            words[2] |= (scale >> 4) << (8 * (n % 4) + 2 * (n / 4));
            continue;
          } else if constexpr (F::kScales == Scales::kEightHalves) {
            byte = static_cast<uint8_t>(blocks[r]->scales[n]) ^ 128u;
          } else {
            byte = blocks[r]->scales[n];
            dmin = blocks[r]->dmin;
          }
          words[n / 4] |= byte << (8 * (n % 4));
        }
      }
      if constexpr (F::kScales == Scales::kSixHalves) {
        store_word(record + 8 * row, words[0]);
        store_word(record + 8 * row + 4, words[1]);
        store_word(record + 128 + 4 * row, words[2]);
        *reinterpret_cast<uint16_t*>(record + 192 + 2 * row) = static_cast<uint16_t>(d);
      } else {
        for (int w = 0; w < 4; ++w) store_word(record + 16 * row + 4 * w, words[w]);
        if constexpr (F::kScales == Scales::kFourMin) {
          store_word(record + 256 + 4 * row, two_halves(d, dmin));
        } else {
          *reinterpret_cast<uint16_t*>(record + 256 + 2 * row) = static_cast<uint16_t>(d);
        }
      }
    }
  }
}

// ---- and back ---------------------------------------------------------------------------------

// w = scale * (code - kOffset) + min, or scale * look_up(code).
struct GroupScale {
  float scale = 1.0f;
  float min = 0.0f;
};

SLUICE_ANYWHERE float half_at(const uint8_t* record, int index) {
  return quant::f16_to_f32(reinterpret_cast<const uint16_t*>(record)[index]);
}
SLUICE_ANYWHERE float low_half_value(uint32_t word) {
  return quant::f16_to_f32(static_cast<uint16_t>(word));
}
SLUICE_ANYWHERE float high_half_value(uint32_t word) {
  return quant::f16_to_f32(static_cast<uint16_t>(word >> 16));
}

SLUICE_ANYWHERE uint32_t join_six_bits(uint32_t low, uint32_t high, int r, int n) {
  return (low >> (4 * n) & 15u) | (high >> (8 * (n / 2) + 4 * r + 2 * (n % 2)) & 3u) << 4;
}

// Of a row of the tile (0..15) and a group of F::kGroup columns of the chunk.
template <quant::Type kType>
SLUICE_ANYWHERE GroupScale load_group_scale(const uint8_t* record, int row, int group) {
  using F = Format<kType>;
  const int g = row % 8, r = row / 8;
  if constexpr (F::kScales == Scales::kHalf) return {half_at(record, row * 8 + group), 0.0f};
  if constexpr (F::kScales == Scales::kHalfMin) {
    return {half_at(record, row * 8 + group), half_at(record + 256, row * 8 + group)};
  }
  if constexpr (F::kScales == Scales::kExponent) {  // half of it: the table is doubled
    const uint32_t e = record[row * 8 + group];
    return {std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23), 0.0f};
  }
  if constexpr (F::kScales == Scales::kSixMin) {
    uint32_t high = 0;
    for (int nibble = 0; nibble < 8; ++nibble) {
      const uint32_t word = load_word(record + 128 + 4 * (4 * g + high_bits_lane(nibble)));
      high |= (word >> high_bits_at(nibble) & 15u) << (4 * nibble);
    }
    const uint32_t halves = load_word(record + 16 * g + 4 * r);
    const uint32_t low = load_word(record + 16 * g + 8 + 4 * r);
    const uint32_t minima = load_word(record + 128 + 4 * (4 * g + group / 2));
    const uint32_t min = minima >> (16 * (group % 2) + 6 * r) & 63u;
    return {low_half_value(halves) * number(join_six_bits(low, high, r, group)),
            -(high_half_value(halves) * number(min))};
  }
  if constexpr (F::kScales == Scales::kSix) {
    const uint32_t scale =
        join_six_bits(load_word(record + 8 * g + 4 * r), load_word(record + 64 + 4 * g), r, group);
    return {half_at(record + 96, 2 * g + r) * number(scale - 32u), 0.0f};
  }
  if constexpr (F::kScales == Scales::kFourMin) {
    const uint32_t byte = record[16 * row + group], halves = load_word(record + 256 + 4 * row);
    return {low_half_value(halves) * number(byte & 15u),
            -(high_half_value(halves) * number(byte >> 4))};
  }
  if constexpr (F::kScales == Scales::kSixHalves) {
    const int byte = group % 4;
    const uint32_t low = load_word(record + 8 * row + 4 * (group / 8));
    const uint32_t high = load_word(record + 128 + 4 * row);
    const uint32_t scale = (low >> (8 * byte + 4 * (group / 4 % 2)) & 15u) |
                           (high >> (8 * byte + 2 * (group / 4)) & 3u) << 4;
    return {half_at(record + 192, row) * number(scale - 32u), 0.0f};
  }
  if constexpr (F::kScales == Scales::kEightHalves) {
    return {half_at(record + 256, row) * number(record[16 * row + group] - 128u), 0.0f};
  }
  return {};
}

// The eight values of row `row` (0..15) of a chunk from column 8 * `eighth` on.
template <quant::Type kType>
SLUICE_ANYWHERE void unpack_columns(const uint8_t* chunk, int num_quarters, int row, int eighth,
                                    float (&values)[8]) {
  using F = Format<kType>;
  const int i = eighth / 4 % 2;
  const uint8_t* codes = chunk + eighth / 8 * F::kQuarterBytes;
  const uint8_t* record = chunk + num_quarters * F::kQuarterBytes;
  const GroupScale scale = load_group_scale<kType>(record, row, 8 * eighth / F::kGroup);
  for (int column = 0; column < 8; ++column) {
    const int k = eighth % 4 * 8 + column;  // of the block
    const int lane = 4 * (row % 8) + lane_of_column(k);
    const CodePlace place = code_place(F::kCodes, i, row / 8, place_of_column(k));
    uint32_t code = 0;
    for (const CodePiece& piece : place.pieces) {
      const uint32_t mask = piece.bits == 32 ? ~0u : (1u << piece.bits) - 1u;
      const uint32_t word = load_word(codes + word_offset(F::kCodes, lane, piece.word));
      code |= (word >> piece.at & mask) << piece.from;
    }
    if constexpr (kType == quant::Type::kF32) {
      values[column] = std::bit_cast<float>(code);
    } else if constexpr (kType == quant::Type::kF16) {
      values[column] = quant::f16_to_f32(static_cast<uint16_t>(code));
    } else if constexpr (kType == quant::Type::kBF16) {
      values[column] = quant::bf16_to_f32(static_cast<uint16_t>(code));
    } else {
      float whole = 0.0f;
      if constexpr (F::kLooksUp) {
        whole = static_cast<float>(F::look_up(code));
      } else {
        whole = static_cast<float>(static_cast<int>(code) - F::kOffset);
      }
      const float value = scale.scale * whole;
      values[column] = F::kHasMin ? value + scale.min : value;
    }
  }
}

}  // namespace sluice::backend::cuda
