#pragma once

#include <cstdint>

// What kernels know of the step that runs. The host writes it into pinned memory, the step's first
// kernel brings it to the device, to places that are the same for every step: so a graph of a step
// can be launched again.
namespace sluice::backend::cuda {

inline constexpr int kTokensPerBlock = 16;  // of the cache, backend::kBlockTokens

struct StepSequence {
  int32_t first_token;
  int32_t num_tokens;
  int32_t num_cached;
  int32_t table;  // where its blocks start in StepView::tables
};

// Tokens of a sequence that attention takes together, from first_token (of the sequence's) on.
struct StepTile {
  int32_t sequence;
  int32_t first_token;
};

struct StepView {
  const int32_t* tokens = nullptr;          // [tokens]
  const int32_t* positions = nullptr;       // [tokens]
  const int32_t* slots = nullptr;           // [tokens]: block * kTokensPerBlock + place in it
  const int32_t* sequence_of = nullptr;     // [tokens]
  const StepSequence* sequences = nullptr;  // [sequences]
  // Attention: tiles of prompts, and tokens that are alone.
  const StepTile* tiles = nullptr;
  const int32_t* single_tokens = nullptr;
  const int32_t* tables = nullptr;       // block numbers, sequence behind sequence
  const int32_t* output_rows = nullptr;  // [output rows]: the token of each
};

// Pieces of the pinned memory that are of this step, each copied to the same place on the device.
struct StepPieces {
  static constexpr int kMost = 12;
  int32_t num_pieces = 0;
  int32_t unused[3] = {};
  struct Piece {
    int32_t offset;  // in units of 16 bytes
    int32_t count;
  } pieces[kMost] = {};
};
static_assert(sizeof(StepPieces) % 16 == 0);

}  // namespace sluice::backend::cuda
