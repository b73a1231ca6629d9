#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "gguf/file.h"

// What a model will need, and how fast it can be, from the head of its file alone.
namespace sluice::measure {

// A machine as its ceilings.
struct Ceilings {
  std::string name;
  uint64_t memory_bytes = 0;  // for the model
  double read_bytes_per_second = 0;
  double operations_per_second = 0;  // of matrix products; multiply and add are two; 0: not known
};

// Published figures of GPUs, by a name such as "h100": memory less 1 GB for driver and context,
// read bandwidth, dense 16-bit matrix rate. Null when there is none of this name.
const Ceilings* find_gpu(std::string_view name);
std::vector<std::string> gpu_names();

struct ModelPlan {
  std::string name, architecture;
  int context_length = 0;  // what it was trained for
  uint64_t num_parameters = 0;
  uint64_t file_bytes = 0;
  backend::MemoryUse fixed;            // weights and workspace; no cache
  uint64_t cache_token_bytes_f16 = 0;  // of one token, over all layers
  uint64_t cache_token_bytes_q8_0 = 0;
  uint64_t token_read_bytes = 0;  // weights that a decode step reads
  double token_operations = 0;    // of one token's matrix products
};

// From a file of which only the head is read. `backend` says what it would take (the CPU's; for
// others null: the tensors as they are, activations in f32). Throws what reading the file's spec
// throws.
ModelPlan plan_model(const gguf::File& file, const backend::Backend* backend,
                     const backend::LoadOptions& options);

// How many sequences of so many tokens fit beside the model, 0 when not one does.
int64_t users_that_fit(const ModelPlan& plan, const Ceilings& machine, uint64_t cache_token_bytes,
                       int64_t context);
// The most tokens of one sequence that fit, up to what the model was trained for.
int64_t longest_context(const ModelPlan& plan, const Ceilings& machine, uint64_t cache_token_bytes);

// Tokens/s of each of `users` whose sequences hold `context` tokens: what reading weights and
// caches once a step allows, or arithmetic where that is known and takes longer.
double decode_ceiling(const ModelPlan& plan, const Ceilings& machine, uint64_t cache_token_bytes,
                      int users, int64_t context);
// Prompt tokens/s that arithmetic allows; 0 when it is not known.
double prefill_ceiling(const ModelPlan& plan, const Ceilings& machine);

// The same model with other weights.
struct Alternative {
  std::string mix;
  uint64_t weights_bytes = 0;
  uint64_t token_read_bytes = 0;
};
std::vector<Alternative> other_weights(const gguf::File& file);

}  // namespace sluice::measure
