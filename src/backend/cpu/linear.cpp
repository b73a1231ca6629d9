#include "backend/cpu/linear.h"

#include <algorithm>
#include <cstring>

#include "backend/maxima.h"

namespace sluice::backend::cpu {
namespace {

static_assert(kGroupRows == kMaximaStride);

// A panel: decoded weights of this many groups and blocks, 256 KiB, for as long as this many token
// tiles pass over it, whose results take 512 KiB: half of a second-level cache of 2 MiB is left for
// the activations that stream by.
constexpr int kPanelGroups = 16;
constexpr int kPanelBlocks = 16;
constexpr int kPanelTokenTiles = 32;
// For few tokens a panel is used once or twice, and weights come from memory: a panel of 32 KiB
// stays in the first-level cache, and its groups are read from end to end.
constexpr int kFewTokenTiles = 2, kGroupsForFew = 2;
constexpr size_t kPanelBytes = size_t{kPanelGroups} * kPanelBlocks * kPanelTileBytes;
constexpr size_t kPanelResultBytes = size_t{kPanelTokenTiles} * kPanelGroups * kPanelTileBytes;

int groups_per_piece(const LinearTarget& target, int num_members) {
  const int groups = target.matrix->num_groups();
  if (target.in->form == ActivationForm::kBf16) {
    return std::clamp(groups / (num_members * 4), 1, kPanelGroups);
  }
  // Many tokens: weights of a piece stay in the second-level cache while all tiles pass over them.
  // Few: long enough to keep the prefetchers streaming. Either way several pieces for each member,
  // for balance.
  constexpr size_t kStreamed = 48 << 10, kCached = 512 << 10;
  const size_t bytes = target.in->num_tiles() > 1 ? kCached : kStreamed;
  const int by_size = static_cast<int>(bytes / target.matrix->group_bytes);
  const int by_balance = groups / (num_members * 16);
  return std::max(1, std::min(by_size, by_balance));
}

// Results of one token to their place.
inline __attribute__((always_inline)) void finish_token(const LinearTarget& target,
                                                        const float* bias, const float* result,
                                                        int num_rows, float* out) {
  for (int r = 0; r < num_rows; ++r) {
    const float value = result[r] + (bias ? bias[r] : 0.0f);
    out[r] = target.accumulate ? out[r] + value : value;
  }
}

// Writes a tile's results [tokens, 16] to their place.
void finish(const LinearTarget& target, int group, int first_token, int num_tokens,
            const float* results) {
  const int first_row = group * kGroupRows;
  const int num_rows = std::min(kGroupRows, target.matrix->rows - first_row);
  const float* bias = target.bias ? target.bias + first_row : nullptr;
  for (int t = 0; t < num_tokens; ++t) {
    float* out = target.out + static_cast<size_t>(first_token + t) * target.stride + first_row;
    const float* result = results + t * kGroupRows;
    if (num_rows < kGroupRows) {
      finish_token(target, bias, result, num_rows, out);
    } else if (bias || target.accumulate) {
      finish_token(target, bias, result, kGroupRows, out);
    } else {
      std::memcpy(out, result, kGroupRows * sizeof(float));  // a few instructions, not a call
    }
    if (target.maxima) {
      const auto token = static_cast<size_t>(first_token + t);
      target.maxima[token * num_maxima(target.stride) + static_cast<size_t>(group)] =
          highest_of(out, static_cast<size_t>(num_rows));
    }
  }
}

// Asks for the lines that finish() will write. Rows of tokens lie a power of two apart and so in
// the same few sets of the first-level cache: without this nearly every store waits for its line.
inline __attribute__((always_inline)) void prefetch_results(const LinearTarget& target, int group,
                                                            int first_token, int num_tokens) {
  const float* out = target.out + static_cast<size_t>(first_token) * target.stride +
                     static_cast<ptrdiff_t>(group) * kGroupRows;
  for (int t = 0; t < num_tokens; ++t, out += target.stride) __builtin_prefetch(out, 1);
}

void run_groups(const Kernels& kernels, const LinearTarget& target, int first_group,
                int end_group) {
  const PackedMatrix& matrix = *target.matrix;
  const Activations& in = *target.in;
  alignas(64) float results[kTileTokens * kGroupRows];
  TileArgs args;
  args.num_blocks = matrix.num_blocks();
  args.table = matrix.table;
  args.out = results;
  for (int tile = 0; tile < in.num_tiles(); ++tile) {
    const int tile_tokens = in.tile_tokens(tile);
    const int num_tokens = std::min(kTileTokens, in.num_tokens - tile * kTileTokens);
    const TileKernel kernel = kernels.tile_kernel(matrix.type, in.form, tile_tokens);
    args.tile = in.tile(tile);
    for (int group = first_group; group < end_group; ++group) {
      args.group = matrix.group(group);
      prefetch_results(target, group, tile * kTileTokens, num_tokens);
      kernel(args);
      finish(target, group, tile * kTileTokens, num_tokens, results);
    }
  }
}

// The same on the matrix unit, for up to kPanelTokenTiles token tiles and kPanelGroups groups.
void run_panel(const Kernels& kernels, const LinearTarget& target, int first_group, int end_group,
               int first_tile, std::byte* scratch) {
  const PackedMatrix& matrix = *target.matrix;
  const Activations& in = *target.in;
  const DecodePanel decode = kernels.panel_decoder(matrix.type);
  auto* panel = reinterpret_cast<uint16_t*>(scratch);
  PanelArgs args;
  args.token_tile_stride = static_cast<size_t>(in.num_blocks) * kPanelTileBytes;
  args.num_token_tiles = std::min(kPanelTokenTiles, in.num_tiles() - first_tile);
  args.panel = panel;
  args.num_groups = end_group - first_group;
  args.results = reinterpret_cast<float*>(scratch + kPanelBytes);
  for (int block = 0; block < in.num_blocks; block += kPanelBlocks) {
    args.num_blocks = std::min(kPanelBlocks, in.num_blocks - block);
    for (int group = first_group; group < end_group; ++group) {
      decode({matrix.group(group), matrix.table, block, args.num_blocks},
             panel + static_cast<size_t>(group - first_group) *
                         static_cast<size_t>(args.num_blocks) * kPanelTileBytes / sizeof(uint16_t));
    }
    args.activations = in.tile(first_tile) + static_cast<size_t>(block) * kPanelTileBytes;
    args.accumulate = block > 0;
    kernels.multiply_panel(args);
  }
  const float* results = args.results;
  for (int t = 0; t < args.num_token_tiles; ++t) {
    const int first_token = (first_tile + t) * kTileTokens;
    const int num_tokens = std::min(kTileTokens, in.num_tokens - first_token);
    for (int group = first_group; group < end_group; ++group) {
      finish(target, group, first_token, num_tokens, results);
      results += kTileTokens * kGroupRows;
    }
  }
}

void run_panels(const Kernels& kernels, const LinearTarget& target, int first_group, int end_group,
                std::byte* scratch) {
  const int num_tiles = target.in->num_tiles();
  const int most = num_tiles <= kFewTokenTiles ? kGroupsForFew : kPanelGroups;
  for (int tile = 0; tile < num_tiles; tile += kPanelTokenTiles) {
    for (int group = first_group; group < end_group; group += most) {
      run_panel(kernels, target, group, std::min(group + most, end_group), tile, scratch);
    }
  }
}

}  // namespace

int Activations::tile_tokens(int tile) const {
  const int tokens = std::min(kTileTokens, num_tokens - tile * kTileTokens);
  if (form == ActivationForm::kBf16) return kTileTokens;
  const int padded = round_up_tile(tokens);
  return form == ActivationForm::kCodes8 ? std::max(padded, 4) : padded;
}

ActivationForm prompt_form(const Kernels& kernels, const PackedMatrix& matrix) {
  if (kernels.panel_decoder && kernels.panel_decoder(matrix.type)) return ActivationForm::kBf16;
  return matrix.is_float() ? ActivationForm::kFloats : ActivationForm::kCodes8;
}

ActivationForm activation_form(const Kernels& kernels, const PackedMatrix& matrix, int num_tokens,
                               int wide_tokens) {
  const int tile_unit_tokens = matrix.is_float() ? kTileUnitFloatTokens : kTileUnitTokens;
  if (num_tokens >= tile_unit_tokens) return prompt_form(kernels, matrix);
  if (matrix.is_float()) return ActivationForm::kFloats;
  return num_tokens <= wide_tokens ? ActivationForm::kCodes16 : ActivationForm::kCodes8;
}

size_t activation_bytes(int max_tokens, int columns) {
  const int tiles = (max_tokens + kTileTokens - 1) / kTileTokens;
  return static_cast<size_t>(tiles) * static_cast<size_t>(columns / kBlockColumns) *
         activation_record_bytes(ActivationForm::kFloats, kTileTokens);
}

void quantize_row(const Kernels& kernels, const Activations& activations, int token, const float* x,
                  int first_block, int end_block) {
  const int tile = token / kTileTokens;
  kernels.quantize(x, first_block, end_block, activations.tile(tile), token % kTileTokens,
                   activations.tile_tokens(tile), activations.form);
}

size_t linear_scratch_bytes(const Kernels& kernels) {
  return kernels.multiply_panel ? kPanelBytes + kPanelResultBytes : 0;
}

int cut_linear(std::span<LinearTarget> targets, int num_members) {
  int num_pieces = 0;
  for (LinearTarget& target : targets) {
    target.groups_per_piece = groups_per_piece(target, num_members);
    num_pieces += target.num_pieces();
  }
  return num_pieces;
}

void run_linear(const Kernels& kernels, std::span<const LinearTarget> targets, Pieces& pieces,
                std::byte* scratch) {
  for (int piece : pieces) {
    const LinearTarget* target = targets.data();
    for (; piece >= target->num_pieces(); ++target) piece -= target->num_pieces();
    const int first = piece * target->groups_per_piece;
    const int end = std::min(first + target->groups_per_piece, target->matrix->num_groups());
    if (target->in->form != ActivationForm::kBf16) {
      run_groups(kernels, *target, first, end);
    } else {
      run_panels(kernels, *target, first, end, scratch);
    }
  }
}

}  // namespace sluice::backend::cpu
