#include <algorithm>
#include <limits>

#include "api/embedding.h"
#include "api/parse_common.h"
#include "base/error.h"

namespace sluice::api {
namespace {

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorCode::kInvalidArgument, what); }

// A string or a list of strings; null counts as an empty list.
std::vector<std::string> parse_input(const Json* input) {
  if (input == nullptr) return {};
  if (input->is_string()) return {input->get<std::string>()};
  if (!input->is_array()) fail("invalid input type");
  if (input->size() > kMaxEmbeddingInputs) {
    fail("too many inputs: " + std::to_string(input->size()) + "; send at most " +
         std::to_string(kMaxEmbeddingInputs) + " in one request");
  }
  std::vector<std::string> inputs;
  for (const Json& item : *input) {
    if (!item.is_string()) fail("invalid input type");
    inputs.push_back(item.get<std::string>());
  }
  return inputs;
}

int parse_dimensions(const Json& body) {
  constexpr int64_t kMost = std::numeric_limits<int>::max();
  const auto dimensions = int_field(body, "dimensions", std::numeric_limits<int64_t>::min(), kMost);
  return static_cast<int>(std::max<int64_t>(0, dimensions.value_or(0)));
}

EmbeddingRequest parse_shared(const Json& body) {
  EmbeddingRequest request;
  request.model = string_field(body, "model").value_or("");
  request.dimensions = parse_dimensions(body);
  request.extensions = parse_extensions(body);
  return request;
}

EmbeddingRequest parse_ollama(const Json& body) {
  EmbeddingRequest request = parse_shared(body);
  if (const Json* options = object_field(body, "options")) {
    request.options = parse_options(*options);
  }
  if (const Json* keep = find_field(body, "keep_alive")) {
    request.keep_alive = parse_keep_alive(*keep);
  }
  return request;
}

}  // namespace

EmbeddingRequest ollama::parse_embed(std::string_view body_text, const JsonLimits& limits) {
  const Json body = parse_body(body_text, limits);
  EmbeddingRequest request = parse_ollama(body);
  request.truncate = bool_field(body, "truncate").value_or(true);
  request.inputs = parse_input(find_field(body, "input"));
  if (request.inputs == std::vector<std::string>{""}) request.inputs.clear();
  return request;
}

EmbeddingRequest ollama::parse_embeddings(std::string_view body_text, const JsonLimits& limits) {
  const Json body = parse_body(body_text, limits);
  EmbeddingRequest request = parse_ollama(body);
  request.dimensions = 0;
  if (request.model.empty()) fail("model is required");
  std::string prompt = string_field(body, "prompt").value_or("");
  if (!prompt.empty()) request.inputs.push_back(std::move(prompt));
  return request;
}

EmbeddingRequest openai::parse_embeddings(std::string_view body_text, const JsonLimits& limits) {
  const Json body = parse_body(body_text, limits);
  EmbeddingRequest request = parse_shared(body);
  if (request.model.empty()) fail("model is required");
  const std::string format = string_field(body, "encoding_format").value_or("float");
  if (format != "float" && format != "base64" && !format.empty()) {
    fail("invalid encoding_format: must be \"float\" or \"base64\"");
  }
  request.is_base64 = format == "base64";
  request.inputs = parse_input(find_field(body, "input"));
  if (request.inputs.empty()) fail("invalid input");
  return request;
}

}  // namespace sluice::api
