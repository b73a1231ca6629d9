#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "backend/cpu/kernels.h"
#include "backend/cpu/packing.h"
#include "backend/cpu/team.h"

// Matrix products over packed weights: activations in tiles, work cut into pieces for the team.
namespace sluice::backend::cpu {

// The input of a matrix product, in tiles (layout: kernels.h). A view over workspace memory.
struct Activations {
  uint8_t* data = nullptr;
  ActivationForm form = ActivationForm::kCodes8;
  int num_tokens = 0;
  int num_blocks = 0;  // of 32 columns

  int num_tiles() const { return (num_tokens + kTileTokens - 1) / kTileTokens; }
  // The size of a tile as it lies in memory: its tokens, padded to a size kernels exist for.
  int tile_tokens(int tile) const;
  uint8_t* tile(int index) const {
    return data + static_cast<size_t>(index) * static_cast<size_t>(num_blocks) *
                      activation_record_bytes(form, kTileTokens);
  }
};

// Up to this many tokens a step waits for memory and not for arithmetic, so that activations can
// afford 16 bits: the loss is then that of the weights alone.
inline constexpr int kWideTokens = 4;

// The guarantee for drafts: a step of up to this many tokens, some sequence of it having more than
// one that is not of its prompt, gives every token the logits of a step of its own, to the last bit
// (cpu_exact_test.cpp). All have 16 bits then; kernels take a token's sums in the same order for
// any number of tokens, and attention for any neighbours. Steps of 5 to 8 sequences of one token
// each have 8 bits instead, for speed.
inline constexpr int kMostWideTokens = 8;

// From this many on a matrix unit pays, which wants its weights decoded: about 100 cycles a block
// of 16 rows, and 1 a token then. A vpdpbusd product takes 11 to 13 a token (measured on a Xeon
// with AMX: 16 tokens were 10% faster without it), floats without the unit 32.
inline constexpr int kTileUnitTokens = 17, kTileUnitFloatTokens = 9;

// Form for a product of `num_tokens` rows with a matrix; 16 bits up to `wide_tokens` of them.
ActivationForm activation_form(const Kernels& kernels, const PackedMatrix& matrix, int num_tokens,
                               int wide_tokens = kWideTokens);
// Form for rows that are a prompt's, however many.
ActivationForm prompt_form(const Kernels& kernels, const PackedMatrix& matrix);
// Most bytes that Activations of up to `max_tokens` tokens can take, in any form.
size_t activation_bytes(int max_tokens, int columns);

// Rounds columns [32 * first_block, 32 * end_block) of row `token` into its place.
void quantize_row(const Kernels& kernels, const Activations& activations, int token, const float* x,
                  int first_block, int end_block);

// out[token, row] (+)= sum over columns of in[token] * matrix[row] (+ bias[row]).
struct LinearTarget {
  const PackedMatrix* matrix;
  const Activations* in;
  const float* bias;  // null: none
  float* out;         // [tokens, stride]
  size_t stride;
  bool accumulate;
  float* maxima = nullptr;   // null, or of every kGroupRows of `out`: [tokens, num_maxima(stride)]
  int groups_per_piece = 0;  // of the matrix's rows; set by cut_linear
  int num_pieces() const {
    return (matrix->num_groups() + groups_per_piece - 1) / groups_per_piece;
  }
};

// Cuts products that are computed together into pieces for so many members; returns how many.
int cut_linear(std::span<LinearTarget> targets, int num_members);

// Bytes of scratch memory that run_linear wants of each member.
size_t linear_scratch_bytes(const Kernels& kernels);

// Computes pieces of targets that have been cut.
void run_linear(const Kernels& kernels, std::span<const LinearTarget> targets, Pieces& pieces,
                std::byte* scratch);

}  // namespace sluice::backend::cpu
