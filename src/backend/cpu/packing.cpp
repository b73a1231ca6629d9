#include "backend/cpu/packing.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "base/error.h"
#include "quant/blocks.h"
#include "quant/codec.h"

namespace sluice::backend::cpu {
namespace {

using quant::Type;

// Columns [0, n) of one row in a common form: signed codes (or table indices), and scales.
struct RowPart {
  int8_t codes[kSuperColumns];
  uint16_t d = 0;
  uint16_t min = 0;                     // m or dmin
  uint8_t scale[kSuperBlocks][2] = {};  // of a block's halves; [0] alone where they are one
  uint8_t mins[kSuperBlocks][2] = {};
};

void split_nibbles(const uint8_t (&qs)[16], int offset, int8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = static_cast<int8_t>((qs[i] & 15) - offset);
    codes[i + 16] = static_cast<int8_t>((qs[i] >> 4) - offset);
  }
}

void add_fifth_bits(const uint8_t (&qh)[4], int8_t* codes) {
  for (int i = 0; i < 32; ++i) {
    codes[i] = static_cast<int8_t>(codes[i] + ((qh[i / 8] >> (i % 8)) & 1) * 16);
  }
}

void read(const quant::BlockQ4_0& b, RowPart& part) {
  split_nibbles(b.qs, 8, part.codes);
  part.d = b.d;
}
void read(const quant::BlockQ4_1& b, RowPart& part) {
  split_nibbles(b.qs, 8, part.codes);
  part.d = b.d;
  part.min = b.m;
}
void read(const quant::BlockQ5_0& b, RowPart& part) {
  split_nibbles(b.qs, 16, part.codes);
  add_fifth_bits(b.qh, part.codes);
  part.d = b.d;
}
void read(const quant::BlockQ5_1& b, RowPart& part) {
  split_nibbles(b.qs, 16, part.codes);
  add_fifth_bits(b.qh, part.codes);
  part.d = b.d;
  part.min = b.m;
}
void read(const quant::BlockQ8_0& b, RowPart& part) {
  std::memcpy(part.codes, b.qs, sizeof(b.qs));
  part.d = b.d;
}
void read(const quant::BlockIQ4_NL& b, RowPart& part) {
  split_nibbles(b.qs, 0, part.codes);
  part.d = b.d;
}
void read(const quant::BlockMXFP4& b, RowPart& part) {
  split_nibbles(b.qs, 0, part.codes);
  part.scale[0][0] = b.e;
}
void read(const quant::BlockIQ4_XS& b, RowPart& part) {
  part.d = b.d;
  for (int g = 0; g < kSuperBlocks; ++g) {
    for (int i = 0; i < 16; ++i) {
      part.codes[32 * g + i] = static_cast<int8_t>(b.qs[16 * g + i] & 15);
      part.codes[32 * g + 16 + i] = static_cast<int8_t>(b.qs[16 * g + i] >> 4);
    }
    const int low = (b.scales_l[g / 2] >> (4 * (g % 2))) & 15;
    const int high = (b.scales_h >> (2 * g)) & 3;
    part.scale[g][0] = static_cast<uint8_t>((low | high << 4) - 32);
  }
}
void read(const quant::BlockQ2_K& b, RowPart& part) {
  part.d = b.d;
  part.min = b.dmin;
  for (int i = 0; i < kSuperColumns; ++i) {
    const int byte = i / 128 * 32 + i % 32;
    part.codes[i] = static_cast<int8_t>((b.qs[byte] >> (2 * (i % 128 / 32))) & 3);
  }
  for (int g = 0; g < 16; ++g) {
    part.scale[g / 2][g % 2] = b.scales[g] & 15;
    part.mins[g / 2][g % 2] = b.scales[g] >> 4;
  }
}
void read(const quant::BlockQ3_K& b, RowPart& part) {
  part.d = b.d;
  for (int i = 0; i < kSuperColumns; ++i) {
    const int low = (b.qs[i / 128 * 32 + i % 32] >> (2 * (i % 128 / 32))) & 3;
    const bool is_clear = ((b.hmask[i % 32] >> (i / 32)) & 1) == 0;
    part.codes[i] = static_cast<int8_t>(low - (is_clear ? 4 : 0));
  }
  for (int g = 0; g < 16; ++g) {
    const int low = (b.scales[g % 8] >> (g < 8 ? 0 : 4)) & 15;
    const int high = (b.scales[8 + g % 4] >> (2 * (g / 4))) & 3;
    part.scale[g / 2][g % 2] = static_cast<uint8_t>((low | high << 4) - 32);
  }
}
void read_nibbles_of_k(const uint8_t (&qs)[128], int offset, int8_t* codes) {
  for (int c = 0; c < 4; ++c) {
    for (int i = 0; i < 32; ++i) {
      codes[64 * c + i] = static_cast<int8_t>((qs[32 * c + i] & 15) - offset);
      codes[64 * c + 32 + i] = static_cast<int8_t>((qs[32 * c + i] >> 4) - offset);
    }
  }
}
void read_scales_of_k(const uint8_t (&scales)[12], RowPart& part) {
  for (int g = 0; g < kSuperBlocks; ++g) {
    const quant::ScaleAndMin pair = quant::scale_and_min(scales, g);
    part.scale[g][0] = pair.scale;
    part.mins[g][0] = pair.min;
  }
}
void read(const quant::BlockQ4_K& b, RowPart& part) {
  part.d = b.d;
  part.min = b.dmin;
  read_nibbles_of_k(b.qs, 8, part.codes);
  read_scales_of_k(b.scales, part);
}
void read(const quant::BlockQ5_K& b, RowPart& part) {
  part.d = b.d;
  part.min = b.dmin;
  read_nibbles_of_k(b.qs, 16, part.codes);
  for (int g = 0; g < kSuperBlocks; ++g) {
    for (int i = 0; i < 32; ++i) {
      part.codes[32 * g + i] =
          static_cast<int8_t>(part.codes[32 * g + i] + ((b.qh[i] >> g) & 1) * 16);
    }
  }
  read_scales_of_k(b.scales, part);
}
void read(const quant::BlockQ6_K& b, RowPart& part) {
  part.d = b.d;
  for (int half = 0; half < 2; ++half) {
    const uint8_t* ql = b.ql + 64 * half;
    const uint8_t* qh = b.qh + 32 * half;
    int8_t* codes = part.codes + 128 * half;
    for (int i = 0; i < 32; ++i) {
      codes[i] = static_cast<int8_t>(((ql[i] & 15) | (qh[i] & 3) << 4) - 32);
      codes[i + 32] = static_cast<int8_t>(((ql[i + 32] & 15) | (qh[i] >> 2 & 3) << 4) - 32);
      codes[i + 64] = static_cast<int8_t>(((ql[i] >> 4) | (qh[i] >> 4 & 3) << 4) - 32);
      codes[i + 96] = static_cast<int8_t>(((ql[i + 32] >> 4) | (qh[i] >> 6) << 4) - 32);
    }
  }
  for (int g = 0; g < 16; ++g) part.scale[g / 2][g % 2] = static_cast<uint8_t>(b.scales[g]);
}

// The 32 codes of a block of row `lane` into the packed block `out`.
template <Codes kCodes>
void store_codes(const int8_t* codes, uint8_t* out, int lane) {
  constexpr int kLowBits = kCodes == Codes::k4Plus1 ? 1 : kCodes == Codes::k4Plus2 ? 2 : 0;
  if constexpr (kCodes == Codes::k8) {
    for (int j = 0; j < 8; ++j) std::memcpy(out + 64 * j + 4 * lane, codes + 4 * j, 4);
    return;
  }
  uint8_t nibbles[16];
  for (int i = 0; i < 16; ++i) {
    const int low = (codes[i] >> kLowBits) & 15;
    const int high = (codes[i + 16] >> kLowBits) & 15;
    nibbles[i] = static_cast<uint8_t>(low | high << 4);
  }
  for (int j = 0; j < 4; ++j) std::memcpy(out + 64 * j + 4 * lane, nibbles + 4 * j, 4);
  if constexpr (kCodes == Codes::k4Plus1) {
    for (int b = 0; b < 4; ++b) {
      int bits = 0;
      for (int j = 0; j < 8; ++j) bits |= (codes[4 * j + b] & 1) << j;
      out[256 + 4 * lane + b] = static_cast<uint8_t>(bits);
    }
  }
  if constexpr (kCodes == Codes::k4Plus2) {
    for (int half = 0; half < 2; ++half) {
      for (int b = 0; b < 4; ++b) {
        int bits = 0;
        for (int j = 0; j < 4; ++j) bits |= (codes[16 * half + 4 * j + b] & 3) << (2 * j);
        out[256 + 64 * half + 4 * lane + b] = static_cast<uint8_t>(bits);
      }
    }
  }
}

void store_half(uint8_t* out, int lane, uint16_t value) { std::memcpy(out + 2 * lane, &value, 2); }

// The scales of row `lane` into the record `out` (layouts: Scales).
template <Scales kScales>
void store_scales(const RowPart& part, uint8_t* out, int lane) {
  if constexpr (kScales == Scales::kE8M0) {
    out[lane] = part.scale[0][0];
    return;
  }
  store_half(out, lane, part.d);
  if constexpr (kScales == Scales::kF16Min) store_half(out + 32, lane, part.min);
  if constexpr (kScales == Scales::kSuper) {
    for (int g = 0; g < kSuperBlocks; ++g) out[32 + 16 * g + lane] = part.scale[g][0];
  }
  if constexpr (kScales == Scales::kSuperMin) {
    store_half(out + 32, lane, part.min);
    for (int g = 0; g < kSuperBlocks; ++g) {
      out[64 + 32 * g + lane] = part.scale[g][0];
      out[64 + 32 * g + 16 + lane] = part.mins[g][0];
    }
  }
  if constexpr (kScales == Scales::kSuperHalf) {
    for (int g = 0; g < kSuperBlocks; ++g) {
      out[32 + 32 * g + lane] = part.scale[g][0];
      out[32 + 32 * g + 16 + lane] = part.scale[g][1];
    }
  }
  if constexpr (kScales == Scales::kSuperHalfMin) {
    store_half(out + 32, lane, part.min);
    for (int g = 0; g < kSuperBlocks; ++g) {
      uint8_t* own = out + 64 + 64 * g + lane;
      own[0] = part.scale[g][0];
      own[16] = part.scale[g][1];
      own[32] = part.mins[g][0];
      own[48] = part.mins[g][1];
    }
  }
}

template <class Block, class Fmt>
void pack_quantized(const PackedMatrix& m, const std::byte* source, int index) {
  const int units = m.num_blocks() / Fmt::kUnitBlocks;
  const size_t row_bytes = static_cast<size_t>(units) * sizeof(Block);
  uint8_t* group = reinterpret_cast<uint8_t*>(m.data) + static_cast<size_t>(index) * m.group_bytes;
  const int num_rows = std::min(kGroupRows, m.rows - index * kGroupRows);
  if (num_rows < kGroupRows) std::memset(group, 0, m.group_bytes);
  for (int u = 0; u < units; ++u) {
    uint8_t* record = group + static_cast<size_t>(u) * Fmt::kUnitBytes;
    uint8_t* codes = record + scale_bytes(Fmt::kScales);
    for (int lane = 0; lane < num_rows; ++lane) {
      Block block;
      std::memcpy(&block, source + static_cast<size_t>(lane) * row_bytes + u * sizeof(Block),
                  sizeof(Block));
      RowPart part;
      read(block, part);
      for (int b = 0; b < Fmt::kUnitBlocks; ++b) {
        store_codes<Fmt::kCodes>(part.codes + kBlockColumns * b,
                                 codes + static_cast<size_t>(b) * Fmt::kCodeBytes, lane);
      }
      store_scales<Fmt::kScales>(part, record, lane);
    }
  }
}

template <class Value>
void pack_floats(const PackedMatrix& m, const std::byte* source, int index) {
  std::byte* group = m.data + static_cast<size_t>(index) * m.group_bytes;
  const int num_rows = std::min(kGroupRows, m.rows - index * kGroupRows);
  if (num_rows < kGroupRows) std::memset(group, 0, m.group_bytes);
  const size_t row_bytes = static_cast<size_t>(m.columns) * sizeof(Value);
  for (int lane = 0; lane < num_rows; ++lane) {
    const std::byte* row = source + static_cast<size_t>(lane) * row_bytes;
    for (int c = 0; c < m.columns; ++c) {
      std::memcpy(group + (static_cast<size_t>(c) * kGroupRows + lane) * sizeof(Value),
                  row + static_cast<size_t>(c) * sizeof(Value), sizeof(Value));
    }
  }
}

float load_half(const uint8_t* numbers, int lane) {
  uint16_t half;
  std::memcpy(&half, numbers + 2 * lane, 2);
  return quant::f16_to_f32(half);
}

// w = scale * code + min, of the columns of one half of a block.
struct ScaleAndMin {
  float scale = 0.0f;
  float min = 0.0f;
};

// Of half `half` of block `block` in the record of row `lane` (layouts: Scales).
template <Scales kScales>
ScaleAndMin load_scale(const uint8_t* record, int lane, int block, int half) {
  if constexpr (kScales == Scales::kE8M0) return {std::ldexp(1.0f, record[lane] - 128), 0.0f};
  const float d = load_half(record, lane);
  if constexpr (kScales == Scales::kF16) return {d, 0.0f};
  if constexpr (kScales == Scales::kF16Min) return {d, load_half(record + 32, lane)};
  const auto integer = [](uint8_t byte) { return static_cast<float>(static_cast<int8_t>(byte)); };
  if constexpr (kScales == Scales::kSuper) {
    return {d * integer(record[32 + 16 * block + lane]), 0.0f};
  }
  if constexpr (kScales == Scales::kSuperHalf) {
    return {d * integer(record[32 + 32 * block + 16 * half + lane]), 0.0f};
  }
  if constexpr (kScales == Scales::kSuperMin) {
    const uint8_t* own = record + 64 + 32 * block + lane;
    const auto min = static_cast<float>(own[16]);
    return {d * static_cast<float>(own[0]), -(load_half(record + 32, lane) * min)};
  }
  if constexpr (kScales == Scales::kSuperHalfMin) {
    const uint8_t* own = record + 64 + 64 * block + 16 * half + lane;
    const auto min = static_cast<float>(own[32]);
    return {d * static_cast<float>(own[0]), -(load_half(record + 32, lane) * min)};
  }
}

// The code at `column` of a block in row `lane`: what store_codes stored.
template <Codes kCodes>
int load_code(const uint8_t* codes, int lane, int column, const int8_t* table) {
  const int vector = column / 4, byte = 4 * lane + column % 4;
  if constexpr (kCodes == Codes::k8) return static_cast<int8_t>(codes[64 * vector + byte]);
  const int nibble = (codes[64 * (vector % 4) + byte] >> (vector < 4 ? 0 : 4)) & 15;
  if constexpr (kCodes == Codes::kTable) return table[nibble];
  if constexpr (kCodes == Codes::k4) return (nibble ^ 8) - 8;
  if constexpr (kCodes == Codes::k4Plus1) {
    const int low = (codes[256 + byte] >> vector) & 1;
    return ((nibble << 1 | low) ^ 16) - 16;
  }
  if constexpr (kCodes == Codes::k4Plus2) {
    const int low = (codes[256 + 64 * (vector / 4) + byte] >> (2 * (vector % 4))) & 3;
    return ((nibble << 2 | low) ^ 32) - 32;
  }
}

template <class Fmt>
void unpack_quantized(const PackedMatrix& m, int row, float* values) {
  const int lane = row % kGroupRows;
  const uint8_t* record = m.group(row / kGroupRows);
  for (int u = 0; u < m.num_blocks() / Fmt::kUnitBlocks; ++u, record += Fmt::kUnitBytes) {
    const uint8_t* codes = record + scale_bytes(Fmt::kScales);
    for (int b = 0; b < Fmt::kUnitBlocks; ++b, codes += Fmt::kCodeBytes) {
      for (int half = 0; half < 2; ++half) {
        const auto [scale, min] = load_scale<Fmt::kScales>(record, lane, b, half);
        for (int i = 0; i < kBlockColumns / 2; ++i) {
          const int column = kBlockColumns / 2 * half + i;
          const int code = load_code<Fmt::kCodes>(codes, lane, column, m.table) + Fmt::kOffset;
          const float value = scale * static_cast<float>(code);
          *values++ = Fmt::kHasMin ? value + min : value;
        }
      }
    }
  }
}

float float_of(uint32_t bits) { return std::bit_cast<float>(bits); }

template <class Value, float (*convert)(Value)>
void unpack_floats(const PackedMatrix& m, int row, float* values) {
  const std::byte* first = m.data + static_cast<size_t>(row / kGroupRows) * m.group_bytes +
                           static_cast<size_t>(row % kGroupRows) * sizeof(Value);
  for (int c = 0; c < m.columns; ++c) {
    Value value;
    std::memcpy(&value, first + static_cast<size_t>(c) * kGroupRows * sizeof(Value), sizeof(Value));
    values[c] = convert(value);
  }
}

// What a type is packed as.
struct Packing {
  void (*pack)(const PackedMatrix&, const std::byte*, int);
  void (*unpack)(const PackedMatrix&, int, float*);
  int unit_blocks;
  size_t unit_bytes;
  const int8_t* table;
};

template <class Block, class Fmt>
Packing quantized(const int8_t* table = nullptr) {
  return {pack_quantized<Block, Fmt>, unpack_quantized<Fmt>, Fmt::kUnitBlocks, Fmt::kUnitBytes,
          table};
}

template <class Value, float (*convert)(Value)>
Packing floats() {
  return {pack_floats<Value>, unpack_floats<Value, convert>, 1,
          sizeof(Value) * kGroupRows * kBlockColumns, nullptr};
}

Packing packing_of(Type type) {
  switch (type) {
    case Type::kF32:
      return floats<uint32_t, float_of>();
    case Type::kF16:
      return floats<uint16_t, quant::f16_to_f32>();
    case Type::kBF16:
      return floats<uint16_t, quant::bf16_to_f32>();
    case Type::kQ4_0:
      return quantized<quant::BlockQ4_0, FormatQ4_0>();
    case Type::kQ4_1:
      return quantized<quant::BlockQ4_1, FormatQ4_1>();
    case Type::kQ5_0:
      return quantized<quant::BlockQ5_0, FormatQ5_0>();
    case Type::kQ5_1:
      return quantized<quant::BlockQ5_1, FormatQ5_1>();
    case Type::kQ8_0:
      return quantized<quant::BlockQ8_0, FormatQ8_0>();
    case Type::kQ2_K:
      return quantized<quant::BlockQ2_K, FormatQ2_K>();
    case Type::kQ3_K:
      return quantized<quant::BlockQ3_K, FormatQ3_K>();
    case Type::kQ4_K:
      return quantized<quant::BlockQ4_K, FormatQ4_K>();
    case Type::kQ5_K:
      return quantized<quant::BlockQ5_K, FormatQ5_K>();
    case Type::kQ6_K:
      return quantized<quant::BlockQ6_K, FormatQ6_K>();
    case Type::kIQ4_NL:
      return quantized<quant::BlockIQ4_NL, FormatIQ4_NL>(quant::kIQ4Values);
    case Type::kIQ4_XS:
      return quantized<quant::BlockIQ4_XS, FormatIQ4_XS>(quant::kIQ4Values);
    case Type::kMXFP4:
      return quantized<quant::BlockMXFP4, FormatMXFP4>(quant::kMXFP4Values);
  }
  throw Error(ErrorCode::kUnsupported, "the CPU backend has no kernel for this tensor type");
}

}  // namespace

bool PackedMatrix::is_float() const {
  return type == Type::kF32 || type == Type::kF16 || type == Type::kBF16;
}

PackedMatrix plan_packing(Type type, int64_t columns, int64_t rows) {
  const Packing packing = packing_of(type);
  const int64_t unit = std::max<int64_t>(kBlockColumns, quant::type_info(type).block_elements);
  constexpr int64_t kLimit = std::numeric_limits<int32_t>::max() / 64;
  if (columns <= 0 || rows <= 0 || columns > kLimit || rows > kLimit || columns % unit != 0) {
    throw Error(ErrorCode::kUnsupported,
                "a matrix of " + std::to_string(rows) + " rows and " + std::to_string(columns) +
                    " columns: columns must be a multiple of " + std::to_string(unit));
  }
  PackedMatrix m;
  m.type = type;
  m.columns = static_cast<int>(columns);
  m.rows = static_cast<int>(rows);
  m.table = packing.table;
  const auto units = static_cast<size_t>(m.num_blocks() / packing.unit_blocks);
  m.group_bytes = (units * packing.unit_bytes + 63) / 64 * 64;
  return m;
}

void pack_group(const PackedMatrix& matrix, const std::byte* source, int index) {
  packing_of(matrix.type).pack(matrix, source, index);
}

void unpack_row(const PackedMatrix& matrix, int row, float* values) {
  packing_of(matrix.type).unpack(matrix, row, values);
}

}  // namespace sluice::backend::cpu
