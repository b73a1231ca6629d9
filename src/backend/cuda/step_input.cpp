#include "backend/cuda/step_input.h"

#include <algorithm>

#include "backend/cuda/kernels.h"
#include "base/error.h"

namespace sluice::backend::cuda {
namespace {

static_assert(kTokensPerBlock == kBlockTokens);

// A kernel's blocks copy pieces of so many bytes each at least.
constexpr uint32_t kLoadBlocks = 16;

size_t round_up_16(size_t bytes) { return (bytes + 15) / 16 * 16; }

}  // namespace

size_t StepInput::table_entries(int max_tokens, int num_blocks) {
  // Each token may be another sequence, and all of them may share the whole cache; beyond 16 MB no
  // real batch goes.
  constexpr size_t kMost = size_t{4} << 20;
  const auto blocks = static_cast<size_t>(num_blocks);
  return std::max(blocks, std::min(static_cast<size_t>(max_tokens) * blocks, kMost));
}

StepInput::Places StepInput::places(const Limits& limits) {
  const auto tokens = static_cast<size_t>(limits.max_tokens);
  Places p{};
  size_t total = sizeof(StepPieces);
  const auto reserve = [&](size_t bytes) {
    const size_t at = total;
    total += round_up_16(bytes);
    return at;
  };
  p.tokens = reserve(tokens * 4);
  p.positions = reserve(tokens * 4);
  p.slots = reserve(tokens * 4);
  p.sequence_of = reserve(tokens * 4);
  p.sequences = reserve(tokens * sizeof(StepSequence));
  p.tiles = reserve(tokens * sizeof(StepTile));
  p.singles = reserve(tokens * 4);
  p.output_rows = reserve(static_cast<size_t>(limits.max_outputs) * 4);
  p.tables = reserve(limits.max_table_entries * 4);
  p.end = total;
  return p;
}

size_t StepInput::size_bytes(const Limits& limits) { return places(limits).end; }

StepInput::StepInput(const Device& device, const Limits& limits)
    : limits_(limits), places_(places(limits)) {
  pinned_ = PinnedBuffer(device, places_.end);
  mirror_ = DeviceBuffer(device, places_.end, "what a step brings");
  const auto at = [&](size_t place) {
    return reinterpret_cast<const int32_t*>(mirror_.data() + place);
  };
  view_.tokens = at(places_.tokens);
  view_.positions = at(places_.positions);
  view_.slots = at(places_.slots);
  view_.sequence_of = at(places_.sequence_of);
  view_.sequences = reinterpret_cast<const StepSequence*>(mirror_.data() + places_.sequences);
  view_.tiles = reinterpret_cast<const StepTile*>(mirror_.data() + places_.tiles);
  view_.single_tokens = at(places_.singles);
  view_.output_rows = at(places_.output_rows);
  view_.tables = at(places_.tables);
}

void StepInput::add_piece(size_t place, size_t bytes) {
  if (bytes == 0) return;
  auto* const pieces = host<StepPieces>(0);
  pieces->pieces[pieces->num_pieces++] = {static_cast<int32_t>(place / 16),
                                          static_cast<int32_t>(round_up_16(bytes) / 16)};
}

// Prompts in tiles, be they of one token: their rows shall not depend on how they are cut. Tokens
// that follow a reply alone, and so do the few of a guess, each as it would be without the others.
void StepInput::add_attention_rows(const BatchSequence& sequence, int32_t index) {
  constexpr int kMostSingles = 8;
  const bool is_single =
      limits_.tile_tokens == 0 || (!sequence.is_prompt && sequence.num_tokens <= kMostSingles);
  if (is_single) {
    for (int i = 0; i < sequence.num_tokens; ++i) {
      host<int32_t>(places_.singles)[num_singles_++] = sequence.first_token + i;
    }
    return;
  }
  for (int first = 0; first < sequence.num_tokens; first += limits_.tile_tokens) {
    host<StepTile>(places_.tiles)[num_tiles_++] = {index, first};
  }
}

void StepInput::write(const Batch& batch) {
  size_t num_entries = 0;
  for (const BatchSequence& sequence : batch.sequences) {
    num_entries +=
        static_cast<size_t>(blocks_for_tokens(int64_t{sequence.num_cached} + sequence.num_tokens));
  }
  if (num_entries > limits_.max_table_entries) {
    throw Error(ErrorCode::kOutOfMemory, "a step of " + std::to_string(batch.sequences.size()) +
                                             " sequences with " + std::to_string(num_entries) +
                                             " cache blocks: more than the GPU has room for");
  }
  *host<StepPieces>(0) = {};
  std::copy(batch.tokens.begin(), batch.tokens.end(), host<int32_t>(places_.tokens));
  auto* const positions = host<int32_t>(places_.positions);
  auto* const slots = host<int32_t>(places_.slots);
  auto* const sequence_of = host<int32_t>(places_.sequence_of);
  auto* const sequences = host<StepSequence>(places_.sequences);
  auto* const tables = host<int32_t>(places_.tables);
  size_t table = 0;
  longest_ = num_tiles_ = num_singles_ = 0;
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const BatchSequence& sequence = batch.sequences[s];
    const int length = sequence.num_cached + sequence.num_tokens;
    longest_ = std::max(longest_, length);
    sequences[s] = {sequence.first_token, sequence.num_tokens, sequence.num_cached,
                    static_cast<int32_t>(table)};
    for (int i = 0; i < sequence.num_tokens; ++i) {
      const int token = sequence.first_token + i, position = sequence.num_cached + i;
      const int block = sequence.block_table[static_cast<size_t>(position / kBlockTokens)];
      positions[token] = position;
      slots[token] = block * kBlockTokens + position % kBlockTokens;
      sequence_of[token] = static_cast<int32_t>(s);
    }
    add_attention_rows(sequence, static_cast<int32_t>(s));
    const auto blocks = static_cast<size_t>(blocks_for_tokens(length));
    std::copy_n(sequence.block_table.begin(), blocks, tables + table);
    table += blocks;
  }
  auto* const output_rows = host<int32_t>(places_.output_rows);
  for (size_t i = 0; i < batch.num_output_rows(); ++i) output_rows[i] = batch.output_row(i);

  const size_t token_bytes = batch.tokens.size() * 4;
  for (const size_t place :
       {places_.tokens, places_.positions, places_.slots, places_.sequence_of}) {
    add_piece(place, token_bytes);
  }
  add_piece(places_.sequences, batch.sequences.size() * sizeof(StepSequence));
  add_piece(places_.tiles, static_cast<size_t>(num_tiles_) * sizeof(StepTile));
  add_piece(places_.singles, static_cast<size_t>(num_singles_) * 4);
  add_piece(places_.output_rows, batch.num_output_rows() * 4);
  add_piece(places_.tables, table * 4);
}

void StepInput::add_load(LaunchList& list) const {
  add_launch(list, "load_step", {kLoadBlocks}, {256}, 0,
             LoadStepArgs{pinned_.data(), mirror_.data()});
}

}  // namespace sluice::backend::cuda
