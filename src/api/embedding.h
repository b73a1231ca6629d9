#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/json.h"
#include "api/options.h"
#include "api/request.h"

// Texts to vectors, in the dialects of Ollama (/api/embed, and /api/embeddings of old) and OpenAI
// (/v1/embeddings). Parsers throw Error(kInvalidArgument).
namespace sluice::api {

// More are refused: what one request may ask for is bounded.
inline constexpr size_t kMaxEmbeddingInputs = 2048;

struct EmbeddingRequest {
  std::string model;  // as the client wrote it; replies repeat it
  std::vector<std::string> inputs;
  bool truncate = true;    // cut what is longer than the context; otherwise that is an error
  int dimensions = 0;      // keep so many and scale to length 1 again; 0: all
  bool is_base64 = false;  // OpenAI's encoding_format
  ModelOptions options;
  std::optional<KeepAlive> keep_alive;
  Extensions extensions;
};

struct EmbeddingReply {
  std::string model;
  std::vector<std::vector<float>> embeddings;  // in the order of the inputs, each of length 1
  int num_prompt_tokens = 0;                   // of all inputs, as are the next two
  int num_cached_tokens = 0;
  int num_dropped_tokens = 0;  // cut off because they did not fit
  std::chrono::nanoseconds total{};
  std::chrono::nanoseconds load{};  // from the request's arrival until the model was there
};

// Keeps the first `dimensions` of a vector, if it has more (0: all of it), and scales them to
// length 1. Throws Error(kInvalidArgument) for a vector that holds what is no finite number.
void shorten_embedding(std::vector<float>& embedding, int dimensions);

namespace ollama {

// No input at all ("", [], null) is a request for loading: `inputs` is empty.
EmbeddingRequest parse_embed(std::string_view body, const JsonLimits& limits = {});
// The old endpoint: one `prompt`.
EmbeddingRequest parse_embeddings(std::string_view body, const JsonLimits& limits = {});

std::string encode_embed(const EmbeddingReply& reply);
// The old endpoint's reply: {"embedding":[..]}, [] without an input. Unlike Ollama's it is scaled
// to length 1 as everywhere else.
std::string encode_embeddings(const EmbeddingReply& reply);

}  // namespace ollama

namespace openai {

// "invalid input" without any; "" is an input like others. Lists of token ids are refused.
EmbeddingRequest parse_embeddings(std::string_view body, const JsonLimits& limits = {});
// `is_base64`: each vector as base64 of its little-endian 32-bit floats.
std::string encode_embeddings(const EmbeddingReply& reply, bool is_base64);

}  // namespace openai
}  // namespace sluice::api
