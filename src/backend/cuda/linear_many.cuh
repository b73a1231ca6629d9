#pragma once

// Products of more than eight rows of activations.
//
// Idea. Weights become halves in registers, as A operands of mma, each once for all the rows of
// activations that a warp has; these stand in shared memory, as B operands for all warps. A block
// has 256 rows of the matrix by 32, 64 or (sm_90) 128 of activations, or 128 by 128, so that
// activations, which each block reads from the second-level cache, are few beside the matrix; a
// warp has 32 rows of it:
//
//                    activations (columns of a stage)
//                   | row 0 .. 31 or 63      |
//   matrix  warp 0  | 2 tiles: 32 rows       |     stage: 64 or 128 columns of all of it, in a ring
//           warp 1  | 2 tiles                |     of `num_slots`, copied asynchronously: the codes
//           ..      |                        |     of 16 tiles, their scales with a chunk's first
//           warp 7  | 2 tiles                |     stage, and the activations, a row's 128 bytes in
//                                                  pieces of 16 that change places by row (piece ^
//                                                  row % 8), so that ldmatrix meets all banks
//
// When a chunk of 256 columns begins each warp makes halves of its tiles' scales (make_scales), as
// all lanes want them: w = p * scale + low with p the whole number that the code stands for.
// Weights are rounded to halves, once (scales of K-quants, too).
//
// On sm_90 a warpgroup multiplies, with B read by the tensor cores themselves, and the products of
// a tile's quarter run while the weights of the next one are made, in registers of their own
// (Shape::kIsWarpgroup).
//
// A decode step must read the matrix at the memory's speed, so all blocks get equal shares of
// (block of tiles, chunk); where the columns of a tile are split over blocks, who comes last adds
// their sums to its own, in the order of the columns, and the others leave theirs. Prompts'
// products are not split: a row's result must be the same in whatever company.
//
// Reference: tests/simt/linear_test.cpp.

#include "backend/cuda/linear_fragments.cuh"
#include "backend/cuda/linear_many.h"

namespace sluice::backend::cuda {
namespace many {

// Tiles times activations that a block computes in one go.
struct Segment {
  int block;             // of tiles
  int token_block;       // of activations
  int chunk, end_chunk;  // of the columns
};

// The segments of a block, one after another.
class Segments {
 public:
  SLUICE_DEVICE explicit Segments(const ManyArgs& args) : args_(args) {
    chunks_ = (args.columns + kChunkColumns - 1) / kChunkColumns;
    const int grid = static_cast<int>(gridDim.x), block = static_cast<int>(blockIdx.x);
    if (args.is_split != 0) {
      const int64_t units = static_cast<int64_t>(args.num_blocks) * chunks_;
      next_ = static_cast<int>(units * block / grid);
      end_ = static_cast<int>(units * (block + 1) / grid);
    } else {
      next_ = args.first_unit + block;
      end_ = args.end_unit;
    }
  }
  SLUICE_DEVICE bool is_over() const { return next_ >= end_; }
  SLUICE_DEVICE Segment next() {
    Segment s;
    if (args_.is_split != 0) {
      s.block = next_ / chunks_;
      s.token_block = 0;
      s.chunk = next_ - s.block * chunks_;
      s.end_chunk = lesser(chunks_, s.chunk + end_ - next_);
      next_ += s.end_chunk - s.chunk;
    } else {
      s.block = next_ / args_.num_token_blocks;
      s.token_block = next_ - s.block * args_.num_token_blocks;
      s.chunk = 0;
      s.end_chunk = chunks_;
      next_ += static_cast<int>(gridDim.x);
    }
    return s;
  }

 private:
  const ManyArgs& args_;
  int chunks_, next_, end_;
};

SLUICE_DEVICE int part_of(const ManyArgs& args, int block) {
  int part = 0;
  for (int i = 1; i < args.num_parts; ++i) {
    if (block >= args.parts[i].first_block) part = i;
  }
  return part;
}

SLUICE_DEVICE int quarters_of_chunk(const ManyArgs& args, int chunk) {
  return lesser(kChunkQuarters,
                (args.columns - chunk * kChunkColumns + kQuarterColumns - 1) / kQuarterColumns);
}

// Copies stages in the order in which they are computed.
template <quant::Type kType, class Shape>
class Stages {
 public:
  using Stage = ManyStage<kType, Shape>;
  using F = Format<kType>;

  SLUICE_DEVICE explicit Stages(const ManyArgs& args)
      : args_(args), segments_(args), policy_(ptx::evict_first_policy()) {
    next_segment();
  }

  // Copies the next stage to `slot`, if there is one; a group of copies in any case.
  SLUICE_DEVICE void copy_next(uint8_t* slot) {
    if (is_there_) {
      copy_weights(slot);
      copy_in(slot);
      advance();
    }
    ptx::cp_async_commit();
  }
  // The halves of that, for two that go side by side: the first one's copies are the second's, too.
  SLUICE_DEVICE void copy_next_weights(uint8_t* slot) {
    if (!is_there_) return;
    copy_weights(slot);
    advance();
  }
  SLUICE_DEVICE void copy_next_in(uint8_t* slot) {
    if (is_there_) {
      copy_in(slot);
      advance();
    }
    ptx::cp_async_commit();
  }

 private:
  static constexpr int kThreads = kManyWarps * 32;
  static constexpr int kQuarterPieces = F::kQuarterBytes / 16;
  static constexpr int kCodePieces = Stage::kTileBytes / 16;  // of a tile
  static constexpr int kInRows = kThreads / 8;                // that a round copies

  SLUICE_DEVICE void next_segment() {
    is_there_ = !segments_.is_over();
    if (!is_there_) return;
    const int thread = static_cast<int>(threadIdx.x);
    segment_ = segments_.next();
    quarter_ = 0;
    quarters_ = quarters_of_chunk(args_, segment_.chunk);
    const ManyPart& part = args_.parts[part_of(args_, segment_.block)];
    const int tile = (segment_.block - part.first_block) * Shape::kTiles;
    tiles_ = part.tiles + tile * args_.tile_bytes;
    num_tiles_ = lesser(part.num_tiles - tile, Shape::kTiles);
    const int own = lesser(thread / kCodePieces, num_tiles_ - 1);
    own_codes_ = tiles_ + own * args_.tile_bytes +
                 static_cast<int64_t>(segment_.chunk) * F::kChunkBytes + thread % kCodePieces * 16;
    const int token = segment_.token_block * Shape::kTokens + thread / 8;
    const int column = segment_.chunk * kChunkColumns + thread % 8 * 8;
    own_in_ = args_.x + static_cast<int64_t>(token) * args_.x_stride + column;
    columns_left_ = args_.columns - column;
    tokens_left_ = args_.num_rows - token;
  }

  SLUICE_DEVICE void advance() {
    own_in_ += Stage::kQuarters * kQuarterColumns;
    columns_left_ -= Stage::kQuarters * kQuarterColumns;
    own_codes_ += Stage::kTileBytes;
    quarter_ += Stage::kQuarters;
    if (quarter_ < quarters_) return;
    quarter_ = 0;
    own_codes_ += F::kScaleBytes;
    if (++segment_.chunk == segment_.end_chunk) return next_segment();
    quarters_ = quarters_of_chunk(args_, segment_.chunk);
  }

  SLUICE_DEVICE void copy_weights(uint8_t* slot) const {
    const int thread = static_cast<int>(threadIdx.x);
    const int pieces = Stage::kQuarters == 1 ? kCodePieces  // of a tile, that there are
                                             : (quarters_ - quarter_) * kQuarterPieces;
#pragma unroll
    for (int first = 0; first < Shape::kTiles * kCodePieces; first += kThreads) {
      const int i = first + thread;
      if (first + kThreads > Shape::kTiles * kCodePieces && i >= Shape::kTiles * kCodePieces) break;
      const uint8_t* from = own_codes_;
      bool is_there = thread / kCodePieces + first / kCodePieces < num_tiles_;
      if constexpr (kThreads % kCodePieces == 0) {
        from += first / kCodePieces * args_.tile_bytes;
      } else if (first > 0) {
        const int own = lesser(thread / kCodePieces, num_tiles_ - 1);
        from += (i / kCodePieces - own) * args_.tile_bytes +
                (i % kCodePieces - thread % kCodePieces) * 16;
        is_there = i / kCodePieces < num_tiles_;
      }
      is_there = is_there && i % kCodePieces < pieces;
      ptx::cp_async_stream16(slot + Stage::kCodes + 16 * i, from, policy_, is_there);
    }
    if constexpr (F::kScaleBytes > 0) {
      if (quarter_ == 0) copy_scales(slot + Stage::kScales);
    }
  }

  SLUICE_DEVICE void copy_in(uint8_t* slot) const {
    const int thread = static_cast<int>(threadIdx.x);
    uint8_t* to = slot + 128 * (thread / 8) + 16 * (thread % 8 ^ thread / 8 % 8);
#pragma unroll
    for (int q = 0; q < Stage::kQuarters; ++q) {
      const bool has_columns = columns_left_ > q * kQuarterColumns;
#pragma unroll
      for (int row = 0; row < Shape::kTokens; row += kInRows) {
        ptx::cp_async16(to + q * Stage::kInBytes + 128 * row,
                        own_in_ + q * kQuarterColumns + row * static_cast<int64_t>(args_.x_stride),
                        has_columns && row < tokens_left_);
      }
    }
  }

  SLUICE_DEVICE void copy_scales(uint8_t* to) const {
    constexpr int kPieces = F::kScaleBytes / 16;
    const int thread = static_cast<int>(threadIdx.x);
    const uint8_t* records = tiles_ + static_cast<int64_t>(segment_.chunk) * F::kChunkBytes +
                             quarters_ * F::kQuarterBytes;
#pragma unroll
    for (int first = 0; first < Shape::kTiles * kPieces; first += kThreads) {
      const int i = first + thread, tile = i / kPieces;
      if (first + kThreads > Shape::kTiles * kPieces && i >= Shape::kTiles * kPieces) break;
      const bool is_there = tile < num_tiles_;
      ptx::cp_async_stream16(to + 16 * i,
                             records + (is_there ? tile : 0) * args_.tile_bytes + i % kPieces * 16,
                             policy_, is_there);
    }
  }

  const ManyArgs& args_;
  Segments segments_;
  uint64_t policy_;
  Segment segment_;
  const uint8_t* tiles_ = nullptr;  // of the segment
  int num_tiles_ = 0, quarter_ = 0, quarters_ = 0;
  bool is_there_ = false;
  // What this thread copies first of the next stage; further pieces stand at fixed distances.
  const uint8_t* own_codes_ = nullptr;
  const uint16_t* own_in_ = nullptr;
  int columns_left_ = 0, tokens_left_ = 0;
};

// ---- weights as halves ------------------------------------------------------------------------

// Codes are lifted by this much, so that their products with scales are no denormals.
inline constexpr float kLift = 0x1p-9f;  // of code 1

constexpr uint32_t both_halves(float value) { return 0x00010001u * quant::f32_to_f16(value); }

template <quant::Type kType>
constexpr int whole_offset() {
  return Format<kType>::kLooksUp ? 128 : Format<kType>::kOffset;
}

// The scales of a tile in this lane's groups (linear_fragments.cuh, load_lows), as halves for all
// (ManyScales).
template <quant::Type kType>
SLUICE_DEVICE void make_scales(const uint8_t* record, int g, int t, uint8_t* to) {
  using F = Format<kType>;
  using Made = ManyScales<kType>;
  constexpr int kOwn = Made::kGroups;  // those of quarter t
  float scale[2][kOwn], low[2][kOwn] = {};
  constexpr float kUp = F::kScales == Scales::kExponent ? 1.0f : 1.0f / kLift;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = g + 8 * r;
    if constexpr (F::kScales == Scales::kHalf || F::kScales == Scales::kHalfMin) {
      const uint32_t word = shared4(record + 16 * row + 4 * t);
      scale[r][0] = ptx::low_half(word);
      scale[r][1] = ptx::high_half(word);
      if constexpr (F::kHasMin) {
        const uint32_t min = shared4(record + 256 + 16 * row + 4 * t);
        low[r][0] = ptx::low_half(min);
        low[r][1] = ptx::high_half(min);
      }
    }
    if constexpr (F::kScales == Scales::kExponent) {
      const uint32_t two = shared2(record + 8 * row + 2 * t);
      scale[r][0] = ptx::bits_float((two & 0xffu) << 23);
      scale[r][1] = ptx::bits_float((two >> 8) << 23);
    }
    if constexpr (F::kScales == Scales::kSixMin) {
      const uint32_t halves = shared4(record + 16 * g + 4 * r);
      const uint32_t byte = record[16 * g + 8 + 4 * r + t];  // of groups 2 t and 2 t + 1
      // Byte t of the high bits: nibbles of two lanes' words (split_six_bits).
      const uint8_t* words = record + 128 + 16 * g + 8 * (t % 2);
      const uint32_t high = (shared4(words) >> high_bits_at(t < 2 ? 0 : 4) & 15u) |
                            (shared4(words + 4) >> high_bits_at(t < 2 ? 0 : 4) & 15u) << 4;
      const uint32_t minima = shared4(record + 128 + 16 * g + 4 * t) >> (6 * r);
      const float d = ptx::low_half(halves), dmin = ptx::high_half(halves);
      scale[r][0] = d * number((byte & 15u) | (high >> (4 * r) & 3u) << 4);
      scale[r][1] = d * number(byte >> 4 | (high >> (4 * r + 2) & 3u) << 4);
      low[r][0] = -dmin * number(minima & 63u);
      low[r][1] = -dmin * number(minima >> 16 & 63u);
    }
    if constexpr (F::kScales == Scales::kSix) {
      const uint32_t byte = record[8 * g + 4 * r + t], high = record[64 + 4 * g + t];
      const float d = half_of(record + 96 + 4 * g + 2 * r);
      scale[r][0] = d * number(((byte & 15u) | (high >> (4 * r) & 3u) << 4) - 32u);
      scale[r][1] = d * number((byte >> 4 | (high >> (4 * r + 2) & 3u) << 4) - 32u);
    }
    if constexpr (F::kScales == Scales::kFourMin) {
      const uint32_t word = shared4(record + 16 * row + 4 * t),
                     halves = shared4(record + 256 + 4 * row);
      const float d = ptx::low_half(halves), dmin = ptx::high_half(halves);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scale[r][i] = d * number(word >> (8 * i) & 15u);
        low[r][i] = -dmin * number(word >> (8 * i + 4) & 15u);
      }
    }
    if constexpr (F::kScales == Scales::kSixHalves) {
      const uint32_t low_bits = shared4(record + 8 * row + t / 2 * 4) >> (4 * (t % 2));
      const uint32_t high = shared4(record + 128 + 4 * row) >> (2 * t);
      const float d = half_of(record + 192 + 2 * row);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scale[r][i] = d * number(((low_bits >> (8 * i) & 15u) | (high >> (8 * i) & 3u) << 4) - 32u);
      }
    }
    if constexpr (F::kScales == Scales::kEightHalves) {
      const uint32_t word = shared4(record + 16 * row + 4 * t);
      const float d = half_of(record + 256 + 2 * row);
#pragma unroll
      for (int i = 0; i < 4; ++i) scale[r][i] = d * number((word >> (8 * i) & 255u) - 128u);
    }
  }
  uint32_t words[Made::kQuarterWords];
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    if constexpr (F::kHasMin) {
      words[2 * i] = ptx::pack_halves(scale[0][i] * kUp, low[0][i]);
      words[2 * i + 1] = ptx::pack_halves(scale[1][i] * kUp, low[1][i]);
    } else {
      words[i] = ptx::pack_halves(scale[0][i] * kUp, scale[1][i] * kUp);
    }
  }
  if constexpr (Made::kQuarterWords == 2) {
    ptx::store(reinterpret_cast<uint2*>(to + Made::place(g, t, 0)), uint2{words[0], words[1]});
  } else {
#pragma unroll
    for (int i = 0; i < Made::kQuarterWords; i += 4) {
      ptx::store(reinterpret_cast<uint4*>(to + Made::place(g, t, i)),
                 uint4{words[i], words[i + 1], words[i + 2], words[i + 3]});
    }
  }
}

// Words that make_scales has left, from word `first` of a quarter on.
template <quant::Type kType, int kCount>
SLUICE_DEVICE void load_scales(const uint8_t* scales, int g, int quarter, int first,
                               uint32_t (&words)[kCount]) {
  using Made = ManyScales<kType>;
  if constexpr (kCount == 1) words[0] = shared4(scales + Made::place(g, quarter, first));
  if constexpr (kCount == 2) {
    const uint2 two = shared8(scales + Made::place(g, quarter, first));
    words[0] = two.x;
    words[1] = two.y;
  }
#pragma unroll
  for (int i = 0; i + 4 <= kCount; i += 4) {
    const uint4 four = shared16(scales + Made::place(g, quarter, first + i));
    words[i] = four.x;
    words[i + 1] = four.y;
    words[i + 2] = four.z;
    words[i + 3] = four.w;
  }
}

// Codes of a step's A operand to weights. `scales`: the words of the group.
template <quant::Type kType>
SLUICE_DEVICE void make_weights(uint32_t (&a)[4], int step, const uint32_t* scales) {
  using F = Format<kType>;
  if constexpr (kType == quant::Type::kBF16) {
#pragma unroll
    for (uint32_t& pair : a) {
      pair = ptx::pack_halves(ptx::bits_float(pair << 16), ptx::bits_float(pair & 0xffff0000u));
    }
  }
  if constexpr (F::kScales == Scales::kNone) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int r = i % 2, pair = 2 * step + i / 2;
    const int shift = F::kLooksUp ? 0 : pair_shift(F::kCodes, pair);
    // From code * 2^(shift - 24) to (code - offset) * kLift.
    const uint32_t lift = 0x00010001u * static_cast<uint32_t>((15 + 15 - shift) << 10);
    if constexpr (F::kHasMin) {
      a[i] = ptx::fma_halves(ptx::multiply_halves(a[i], lift), ptx::low_twice(scales[r]),
                             ptx::high_twice(scales[r]));
    } else {
      const uint32_t scale = r == 0 ? ptx::low_twice(scales[0]) : ptx::high_twice(scales[0]);
      if constexpr (F::kScales != Scales::kExponent) {
        constexpr uint32_t kLess = both_halves(-static_cast<float>(whole_offset<kType>()) * kLift);
        a[i] = ptx::fma_halves(a[i], lift, kLess);
      }
      a[i] = ptx::multiply_halves(a[i], scale);
    }
  }
}

// A quarter of F32 weights as halves.
SLUICE_DEVICE void load_float_quarter(const uint8_t* quarter, int lane, BlockCodes (&blocks)[2]) {
#pragma unroll
  for (int step = 0; step < 4; ++step) {
#pragma unroll
    for (int p = 0; p < 2; ++p) {
      const uint4 four = shared16(quarter + (2 * step + p) * 512 + lane * 16);
      uint32_t(&a)[4] = blocks[step / 2].a[step % 2];
      a[2 * p] = ptx::pack_halves(ptx::bits_float(four.x), ptx::bits_float(four.y));
      a[2 * p + 1] = ptx::pack_halves(ptx::bits_float(four.z), ptx::bits_float(four.w));
    }
  }
}

// ---- products ---------------------------------------------------------------------------------

template <class Shape>
using Sums = float[Shape::kWarpTiles][4 * Shape::kTokenTiles];

// sums += the warp's tiles times its activations, in a stage. `in`: those of the warp.
template <quant::Type kType, class Shape>
SLUICE_DEVICE void add_stage(const uint8_t* codes, const uint8_t* in, const uint8_t* scales,
                             int quarter, int lane, Sums<Shape>& sums) {
  using F = Format<kType>;
  using Made = ManyScales<kType>;
  BlockCodes blocks[Shape::kWarpTiles][2];
#pragma unroll
  for (int tile = 0; tile < Shape::kWarpTiles; ++tile) {
    if constexpr (kType == quant::Type::kF32) {
      load_float_quarter(codes + tile * F::kQuarterBytes, lane, blocks[tile]);
    } else {
      load_quarter<kType>(codes + tile * F::kQuarterBytes, lane, blocks[tile]);
    }
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int tile = 0; tile < Shape::kWarpTiles; ++tile) {
      constexpr int kWords = Made::kQuarterWords / 2;
      uint32_t words[kWords > 0 ? kWords : 1] = {};
      if constexpr (kWords > 0) {
        load_scales<kType>(scales + tile * Made::kTileBytes, lane / 4, quarter, kWords * i, words);
      }
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        make_weights<kType>(blocks[tile][i].a[step], step,
                            words + (F::kGroup == 16 ? step * Made::kGroupWords : 0));
      }
    }
#pragma unroll
    for (int token = 0; token < Shape::kTokenTiles; ++token) {
      uint32_t x[4];
      ptx::load_matrix(x, in + (8 * token + lane % 8) * 128 + 16 * ((4 * i + lane / 8) ^ lane % 8));
#pragma unroll
      for (int tile = 0; tile < Shape::kWarpTiles; ++tile) {
        float(&four)[4] = *reinterpret_cast<float(*)[4]>(&sums[tile][4 * token]);
        ptx::mma_f16(four, blocks[tile][i].a[0], {x[0], x[1]});
        ptx::mma_f16(four, blocks[tile][i].a[1], {x[2], x[3]});
      }
    }
  }
}

// A segment's sums to where they belong.
template <class Shape>
SLUICE_DEVICE void store_sums(const ManyArgs& args, const Segment& segment,
                              const Sums<Shape>& sums) {
  const ManyPart& part = args.parts[part_of(args, segment.block)];
  const int warp = ptx::warp(), g = ptx::lane() / 4, t = ptx::lane() % 4;
  const int first_row = ((segment.block - part.first_block) * Shape::kTiles +
                         warp / Shape::kTokenWarps * Shape::kWarpTiles) *
                        kTileRows;
  const int token = segment.token_block * Shape::kTokens +
                    warp % Shape::kTokenWarps * Shape::kTokenTiles * 8 + 2 * t;
  const int tokens_left = args.num_rows - token;
  const int64_t stride = part.out_stride;
#pragma unroll
  for (int tile = 0; tile < Shape::kWarpTiles; ++tile) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = first_row + tile * kTileRows + g + 8 * r;
      if (row >= part.rows) continue;
      const float bias = part.bias != nullptr ? part.bias[row] : 0.0f;
      float* out = part.out + token * stride + row;
#pragma unroll
      for (int i = 0; i < 2 * Shape::kTokenTiles; ++i) {
        if (i / 2 * 8 + i % 2 < tokens_left) {
          const float value = sums[tile][i / 2 * 4 + 2 * r + i % 2] * args.x_scale + bias;
          *out = part.accumulates != 0 ? *out + value : value;
        }
        out += i % 2 == 0 ? stride : 7 * stride;
      }
    }
  }
}

// Which block has a unit (a block of tiles and a chunk), when `units` are split over `grid`.
SLUICE_DEVICE int owner_of(int64_t unit, int64_t units, int grid) {
  return static_cast<int>(((unit + 1) * grid - 1) / units);
}

// Where several blocks have a part of a segment's columns: who is not the last to come leaves its
// sums. The last one adds all up, in order, and gets true; it waits for others only while they
// write.
template <class Shape>
SLUICE_DEVICE bool add_up(const ManyArgs& args, const Segment& segment, Sums<Shape>& sums) {
  __shared__ bool is_last;
  const int chunks = (args.columns + kChunkColumns - 1) / kChunkColumns;
  const int grid = static_cast<int>(gridDim.x), thread = static_cast<int>(threadIdx.x);
  const int own = static_cast<int>(blockIdx.x);
  const int64_t units = static_cast<int64_t>(args.num_blocks) * chunks;
  const int64_t begin = static_cast<int64_t>(segment.block) * chunks;
  const int first = owner_of(begin, units, grid), last = owner_of(begin + chunks - 1, units, grid);
  if (first == last) return true;
  constexpr int kCount = Shape::kWarpTiles * Shape::kTokenTiles;
  constexpr int kThreads = kManyWarps * 32;
  const uint32_t others = static_cast<uint32_t>(last - first);
  uint32_t* const counters = args.counters + 2 * segment.block;
  // A block's first segment has the first place, its last one the second.
  const auto place = [&](int block) {
    return reinterpret_cast<uint4*>(args.partials) +
           static_cast<int64_t>(2 * block + (block == first ? 1 : 0)) * kCount * kThreads + thread;
  };
  if (thread == 0) {
    is_last = ptx::atomic_add(counters, 1u) == others;
    if (is_last) {
      while (ptx::load_acquire(counters + 1) != others) ptx::spin_pause();
      ptx::atomic_exchange(counters, 0u);
      ptx::atomic_exchange(counters + 1, 0u);
      ptx::fence();  // for all of the block, behind the barrier
    }
  }
  ptx::sync_block();
  constexpr bool kHasRoom = kCount <= 16;  // registers for its sums beside those of all
  if (!is_last || !kHasRoom) {
    uint4* to = place(own);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float* four = &sums[i / Shape::kTokenTiles][i % Shape::kTokenTiles * 4];
      ptx::store(to + i * kThreads, uint4{ptx::float_bits(four[0]), ptx::float_bits(four[1]),
                                          ptx::float_bits(four[2]), ptx::float_bits(four[3])});
    }
  }
  if (!is_last) {
    ptx::sync_block();
    if (thread == 0) {
      ptx::fence();  // for all of the block: the barrier has shown what they wrote
      ptx::atomic_add(counters + 1, 1u);
    }
    return false;
  }
  float kept[kHasRoom ? kCount : 1][4];
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    float* four = &sums[i / Shape::kTokenTiles][i % Shape::kTokenTiles * 4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if constexpr (kHasRoom) kept[i][j] = four[j];
      four[j] = 0.0f;
    }
  }
#pragma unroll 1
  for (int block = first; block <= last; ++block) {
    const uint4* from = place(block);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      float v[4];
      if (kHasRoom && block == own) {
#pragma unroll
        for (int j = 0; j < 4; ++j) v[j] = kept[kHasRoom ? i : 0][j];
      } else {
        const uint4 words = ptx::load(from + i * kThreads);
        v[0] = ptx::bits_float(words.x);
        v[1] = ptx::bits_float(words.y);
        v[2] = ptx::bits_float(words.z);
        v[3] = ptx::bits_float(words.w);
      }
      float* four = &sums[i / Shape::kTokenTiles][i % Shape::kTokenTiles * 4];
#pragma unroll
      for (int j = 0; j < 4; ++j) four[j] += v[j];
    }
  }
  return true;
}

// Codes of this warp's tile in a stage to weights, the A operands of its four steps.
template <quant::Type kType>
SLUICE_DEVICE void make_quarter(const uint8_t* codes, const uint8_t* scales, int quarter, int lane,
                                uint32_t (&a)[4][4]) {
  using F = Format<kType>;
  BlockCodes blocks[2];
  if constexpr (kType == quant::Type::kF32) {
    load_float_quarter(codes, lane, blocks);
  } else {
    load_quarter<kType>(codes, lane, blocks);
  }
  using Made = ManyScales<kType>;
  uint32_t words[Made::kQuarterWords > 0 ? Made::kQuarterWords : 1] = {};
  if constexpr (Made::kQuarterWords > 0) {
    load_scales<kType>(scales, lane / 4, quarter, 0, words);
  }
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    uint32_t(&own)[4] = blocks[step / 2].a[step % 2];
    make_weights<kType>(own, step % 2,
                        words + (F::kGroup == 16 ? step : step / 2) * Made::kGroupWords);
#pragma unroll
    for (int i = 0; i < 4; ++i) a[step][i] = own[i];
  }
}

// The same by a warpgroup, in pieces: a tile's quarter is multiplied while the weights of the next
// one are made. `a`: what pieces have, in turns; its last product is under way at the end.
template <quant::Type kType, class Shape>
SLUICE_DEVICE void begin_stage(const uint8_t* stage, int warp_tile, const uint8_t* scales,
                               int quarter, int lane, uint32_t (&a)[2][4][4], Sums<Shape>& sums) {
  using Stage = ManyStage<kType, Shape>;
  constexpr bool kTakesTurns = Stage::kQuarters * Shape::kWarpTiles % 2 == 0;
#pragma unroll
  for (int q = 0; q < Stage::kQuarters; ++q) {
    const uint64_t in = ptx::warpgroup_operand(stage + q * Stage::kInBytes);
#pragma unroll
    for (int tile = 0; tile < Shape::kWarpTiles; ++tile) {
      uint32_t(&own)[4][4] = a[(q * Shape::kWarpTiles + tile) % 2];
      if constexpr (!kTakesTurns) ptx::warpgroup_wait();
      make_quarter<kType>(stage + Stage::kCodes + (warp_tile + tile) * Stage::kTileBytes +
                              q * Format<kType>::kQuarterBytes,
                          scales + tile * ManyScales<kType>::kTileBytes, quarter + q, lane, own);
      ptx::warpgroup_wait();
      ptx::warpgroup_begin();
#pragma unroll
      for (int step = 0; step < 4; ++step) {
        ptx::warpgroup_mma(sums[tile], own[step], ptx::warpgroup_step(in, step));
      }
      ptx::warpgroup_commit();
    }
  }
}

template <quant::Type kType, class Shape>
SLUICE_DEVICE void run(const ManyArgs& args) {
  using F = Format<kType>;
  using Stage = ManyStage<kType, Shape>;
  using Made = ManyScales<kType>;
  const int warp = ptx::warp(), lane = ptx::lane();
  const int warp_tile = warp / Shape::kTokenWarps * Shape::kWarpTiles;
  const int warp_token = warp % Shape::kTokenWarps * Shape::kTokenTiles * 8;
  uint8_t* const shared = reinterpret_cast<uint8_t*>(Shape::kIsWarpgroup ? ptx::aligned_shared()
                                                                         : ptx::dynamic_shared());
  const int ring_bytes = args.num_slots * Stage::kBytes;
  uint8_t* const scales = shared + ring_bytes + warp * Shape::kWarpTiles * Made::kTileBytes;
  // Of slots that have been read some may still be in use by products: one more.
  constexpr int kBusySlots = Shape::kIsWarpgroup ? 2 : 1;
  constexpr int kUsualSlots = usual_many_slots<kType, Shape>() - kBusySlots + 1;

  // Tiles whose scales are made side by side: Q3_K's have no registers beside so many sums.
  [[maybe_unused]] constexpr int kScalesTogether =
      Shape::kTokenTiles == 16 && F::kCodes == Codes::kBits3 ? 1 : Shape::kWarpTiles;

  ptx::let_next_start();
  Stages<kType, Shape> stages(args);
  int slot = 0, free_slot = ring_bytes - kBusySlots * Stage::kBytes;
  Stages<kType, Shape> stages_in = stages;
  for (int at = 0; at < free_slot; at += Stage::kBytes) stages.copy_next_weights(shared + at);
  ptx::wait_for_previous();  // which writes activations; nobody writes weights
  for (int at = 0; at < free_slot; at += Stage::kBytes) stages_in.copy_next_in(shared + at);

  Segments segments(args);
  uint32_t a[2][4][4];  // of products that are under way
  while (!segments.is_over()) {
    const Segment segment = segments.next();
    Sums<Shape> sums = {};
    // All quarters but the last chunk's are there.
    const int count =
        (segment.end_chunk - 1 - segment.chunk) * Stage::kPerChunk +
        (quarters_of_chunk(args, segment.end_chunk - 1) + Stage::kQuarters - 1) / Stage::kQuarters;
#pragma unroll 1
    for (int i = 0; i < count; ++i) {
      const int quarter = i % Stage::kPerChunk * Stage::kQuarters;
      wait_for_stage<kUsualSlots>(args.num_slots - kBusySlots + 1);
      if constexpr (Shape::kIsWarpgroup) ptx::fence_for_warpgroup_reads();
      ptx::sync_block();  // the stage is here for all, and all have done with one before
      stages.copy_next(shared + free_slot);
      const uint8_t* stage = shared + slot;
      if constexpr (F::kScales != Scales::kNone) {
        if (quarter == 0) {
          ptx::sync_warp();
#pragma unroll kScalesTogether
          for (int tile = 0; tile < Shape::kWarpTiles; ++tile) {
            make_scales<kType>(stage + Stage::kScales + (warp_tile + tile) * F::kScaleBytes,
                               lane / 4, lane % 4, scales + tile * Made::kTileBytes);
          }
          ptx::sync_warp();
        }
      }
      if constexpr (Shape::kIsWarpgroup) {
        begin_stage<kType, Shape>(stage, warp_tile, scales, quarter, lane, a, sums);
      } else {
        add_stage<kType, Shape>(stage + Stage::kCodes + warp_tile * F::kQuarterBytes,
                                stage + warp_token * 128, scales, quarter, lane, sums);
      }
      free_slot = free_slot + Stage::kBytes == ring_bytes ? 0 : free_slot + Stage::kBytes;
      slot = slot + Stage::kBytes == ring_bytes ? 0 : slot + Stage::kBytes;
    }
    if constexpr (Shape::kIsWarpgroup) {
      ptx::warpgroup_wait();
#pragma unroll
      for (int tile = 0; tile < Shape::kWarpTiles; ++tile) ptx::warpgroup_sums(sums[tile]);
    }
    if (args.is_split == 0 || add_up<Shape>(args, segment, sums)) {
      store_sums<Shape>(args, segment, sums);
    }
  }
}

template <bool kIsThere, quant::Type kType, class Shape>
SLUICE_DEVICE void run_if(const ManyArgs& args) {
  if constexpr (kIsThere) run<kType, Shape>(args);
}

}  // namespace many
}  // namespace sluice::backend::cuda

// Each kind of kernel for the machines that use it: empty elsewhere. The host has both.
#ifdef __CUDA_ARCH__
#define SLUICE_HAS_MANY (!SLUICE_HAS_WARPGROUPS)
#else
#define SLUICE_HAS_MANY 1
#endif

#define SLUICE_MANY_KERNEL(name, type, is_there, Shape)       \
  SLUICE_KERNEL(name, ManyArgs, kManyWarps * 32, 1) {         \
    many::run_if<(is_there), quant::Type::type, Shape>(args); \
  }
#define SLUICE_MANY_KERNELS(name, type)                               \
  SLUICE_MANY_KERNEL(linear_32_##name, type, SLUICE_HAS_MANY, Many32) \
  SLUICE_MANY_KERNEL(linear_64_##name, type, SLUICE_HAS_MANY, Many64) \
  SLUICE_MANY_KERNEL(linear_128_##name, type, SLUICE_HAS_MANY, Many128)
#define SLUICE_WIDE_KERNELS(name, type)                                         \
  SLUICE_MANY_KERNEL(linear_wide32_##name, type, SLUICE_HAS_WARPGROUPS, Wide32) \
  SLUICE_MANY_KERNEL(linear_wide64_##name, type, SLUICE_HAS_WARPGROUPS, Wide64) \
  SLUICE_MANY_KERNEL(linear_wide128_##name, type, SLUICE_HAS_WARPGROUPS, Wide128)
