#pragma once

// Products of many rows (linear_many.cuh): which part of them a block computes, and how that comes
// into its ring of stages.

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
  SLUICE_DEVICE Segments(const ManyArgs& args, int block, int grid) : args_(args), grid_(grid) {
    chunks_ = (args.columns + kChunkColumns - 1) / kChunkColumns;
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
      next_ += grid_;
    }
    return s;
  }

 private:
  const ManyArgs& args_;
  int grid_, chunks_, next_, end_;
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

  SLUICE_DEVICE Stages(const ManyArgs& args, int block, int grid)
      : args_(args), segments_(args, block, grid), policy_(ptx::evict_first_policy()) {
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

}  // namespace many
}  // namespace sluice::backend::cuda
