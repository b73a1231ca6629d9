#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/json.h"
#include "api/options.h"
#include "api/request.h"

// Texts to vectors.
namespace sluice::api {

// More are refused: what one request may ask for is bounded.
inline constexpr size_t kMaxEmbeddingInputs = 2048;

struct EmbeddingRequest {
  std::string model;  // as the client wrote it; replies repeat it
  std::vector<TextOrTokens> inputs;
  bool truncate = true;  // cut what is longer than the context; otherwise that is an error
  int dimensions = 0;    // keep so many and scale to length 1 again; 0: all
  ModelOptions options;
  std::optional<KeepAlive> keep_alive;
  Extensions extensions;
};

struct EmbeddingReply {
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

// How embeddings are asked for and answered on the wire. One object serves one request: parse()
// comes first and remembers what the reply repeats. The reply is a JSON object.
class EmbeddingDialect {
 public:
  virtual ~EmbeddingDialect() = default;

  // Throws Error(kInvalidArgument), and what Work::charge() throws.
  virtual EmbeddingRequest parse(std::string_view body, Work& work) = 0;
  virtual std::string whole(const EmbeddingReply& reply) const = 0;
};

using MakeEmbeddingDialect = std::unique_ptr<EmbeddingDialect> (*)();

// /v1/rerank: which of many documents have most to do with a query, by the cosine between their
// embeddings. {"model":..,"results":[{"index":1,"relevance_score":0.7,"document":{"text":..}}],..},
// the best first.
std::unique_ptr<EmbeddingDialect> make_rerank();

namespace ollama {

// /api/embed. No input at all ("", [], null) is a request for loading: `inputs` is empty.
std::unique_ptr<EmbeddingDialect> make_embed();
// /api/embeddings, of old: one `prompt`; {"embedding":[..]}, [] without one. Unlike Ollama's it is
// scaled to length 1 as everywhere else.
std::unique_ptr<EmbeddingDialect> make_embeddings();

}  // namespace ollama

namespace openai {

// /v1/embeddings. "invalid input" without any; "" is an input like others. As base64 if asked for:
// of little-endian 32-bit floats.
std::unique_ptr<EmbeddingDialect> make_embeddings();

}  // namespace openai
}  // namespace sluice::api
