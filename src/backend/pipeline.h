#pragma once

#include <memory>
#include <vector>

#include "backend/backend.h"

// A model whose layers are split over devices: each computes its own for a step, and the rows that
// come out go through the host's memory to the next one. The last one has the head and draws the
// tokens. To those who run steps it is a device like any other.
//
// A step of many tokens is cut into pieces (Traits::piece_tokens), prompts anywhere, other
// sequences between them: while a device computes one piece, the one behind it computes the piece
// before.
namespace sluice::backend {

// The layers [first, end) as a program: with Receive in front unless they are the first, and rows
// of hidden states (of all embedding_rows) as its result unless they are the last. Throws
// Error(kInvalidArgument) where there are no such layers.
Program cut_program(const Program& program, int first, int end);
// What such a part is loaded with: all but the last give a row for every token.
LoadOptions stage_options(const LoadOptions& options, bool is_last);

struct PipelineStage {
  std::unique_ptr<Backend> device;
  int num_layers = 0;  // at least 1
};
// In the order of the layers, of which there must be as many as the program has.
std::unique_ptr<Backend> make_pipeline(std::vector<PipelineStage> stages);

}  // namespace sluice::backend
