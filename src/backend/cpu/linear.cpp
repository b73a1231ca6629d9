#include "backend/cpu/linear.h"

#include <algorithm>

namespace sluice::backend::cpu {
namespace {

// How a target's groups are cut into chunks.
struct Chunks {
  int groups_per_chunk;
  int count;
};

Chunks cut(const LinearTarget& target, int team_size) {
  const int groups = target.matrix->num_groups();
  // Many tokens: weights of a chunk stay in the second-level cache while all tiles pass over them.
  // Few: long enough to keep the prefetchers streaming. Either way several chunks for each member,
  // for balance.
  constexpr size_t kStreamed = 48 << 10, kCached = 512 << 10;
  const size_t bytes = target.in->num_tiles() > 1 ? kCached : kStreamed;
  const int by_size = static_cast<int>(bytes / target.matrix->group_bytes);
  const int by_balance = groups / (team_size * 16);
  const int per_chunk = std::max(1, std::min(by_size, by_balance));
  return {per_chunk, (groups + per_chunk - 1) / per_chunk};
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
    for (int r = 0; r < num_rows; ++r) {
      const float value = result[r] + (bias ? bias[r] : 0.0f);
      out[r] = target.accumulate ? out[r] + value : value;
    }
  }
}

void run_chunk(const Kernels& kernels, const LinearTarget& target, int first_group, int end_group) {
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
      args.codes = matrix.group(group);
      args.scales = args.codes + matrix.code_bytes;
      kernel(args);
      finish(target, group, tile * kTileTokens, num_tokens, results);
    }
  }
}

}  // namespace

int Activations::tile_tokens(int tile) const {
  const int tokens = std::min(kTileTokens, num_tokens - tile * kTileTokens);
  const int padded = round_up_tile(tokens);
  return form == ActivationForm::kCodes8 ? std::max(padded, 4) : padded;
}

ActivationForm activation_form(const PackedMatrix& matrix, int num_tokens) {
  if (matrix.is_float()) return ActivationForm::kFloats;
  return num_tokens <= kWideTokens ? ActivationForm::kCodes16 : ActivationForm::kCodes8;
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

void run_linear(const Kernels& kernels, Team& team, int member,
                std::span<const LinearTarget> targets) {
  int num_chunks = 0;
  for (const LinearTarget& target : targets) num_chunks += cut(target, team.size()).count;
  for (int taken = team.take_near(member, num_chunks); taken >= 0;
       taken = team.take_near(member, num_chunks)) {
    int chunk = taken;
    for (const LinearTarget& target : targets) {
      const Chunks chunks = cut(target, team.size());
      if (chunk < chunks.count) {
        const int first = chunk * chunks.groups_per_chunk;
        run_chunk(kernels, target, first,
                  std::min(first + chunks.groups_per_chunk, target.matrix->num_groups()));
        break;
      }
      chunk -= chunks.count;
    }
  }
}

}  // namespace sluice::backend::cpu
