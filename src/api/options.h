#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/json.h"
#include "engine/request.h"

namespace sluice::api {

// Ollama's `options`, each unset until given. Three of them are laid over each other: the defaults,
// the model's params layer, the request.
struct ModelOptions {
  // Sampling.
  std::optional<float> temperature;
  std::optional<int> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> typical_p;
  std::optional<int> repeat_last_n;
  std::optional<float> repeat_penalty;
  std::optional<float> presence_penalty;
  std::optional<float> frequency_penalty;
  std::optional<bool>
      penalize_prompt;          // no option of Ollama's: which penalizes it, OpenAI does not
  std::optional<int64_t> seed;  // negative: random
  // Limits.
  std::optional<std::vector<std::string>> stop;
  std::optional<int> num_predict;  // negative: until the context is full
  std::optional<int> num_keep;
  std::optional<int> num_ctx;
  // Loading; accepted and reported, the server says what it makes of them.
  std::optional<int> num_batch;
  std::optional<int> num_gpu;
  std::optional<int> main_gpu;
  std::optional<int> num_thread;
  std::optional<int> draft_num_predict;
  std::optional<bool> use_mmap;

  // Names that we do not know (old ones of Ollama's among them): for the log, never an error.
  std::vector<std::string> unknown;
};

// Reads an object of options. null values are skipped, fractions of integers are cut. Throws
// Error(kInvalidArgument): `option "x" must be of type integer` (Ollama's texts), or out of range.
ModelOptions parse_options(const Json& object);

// `over` wins where it is set; `stop` is replaced, not joined.
ModelOptions merge_options(const ModelOptions& base, const ModelOptions& over);

// The defaults of engine::SamplingParams with what is set put over them.
engine::SamplingParams to_sampling(const ModelOptions& options);

// Sets sampling, max_tokens, context_limit, num_keep, speculate (by draft_num_predict: 0 is off)
// and stop_strings of a request. Empty stop strings are left out.
void apply_options(const ModelOptions& options, engine::Request& request);

// The text that `show` prints for a params layer: one line a value, the key padded to 30 columns,
// strings quoted: `stop                           "<|im_end|>"`.
std::string format_parameters(const Json& params);

}  // namespace sluice::api
