#include "api/embedding_common.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "api/error.h"
#include "api/parse_common.h"
#include "base/error.h"

namespace sluice::api {
namespace {

int parse_dimensions(const Json& body) {
  constexpr int64_t kMost = std::numeric_limits<int>::max();
  const auto dimensions = int_field(body, "dimensions", std::numeric_limits<int64_t>::min(), kMost);
  return static_cast<int>(std::max<int64_t>(0, dimensions.value_or(0)));
}

}  // namespace

EmbeddingRequest parse_embedding_fields(const Json& body) {
  EmbeddingRequest request;
  request.model = string_field(body, "model").value_or("");
  request.dimensions = parse_dimensions(body);
  request.extensions = parse_extensions(body);
  return request;
}

std::string numbers_text(const std::vector<float>& numbers) {
  std::string text = "[";
  text.reserve(numbers.size() * 14 + 2);
  for (const float number : numbers) {
    if (text.size() > 1) text += ',';
    char digits[32];
    const auto result = std::to_chars(digits, digits + sizeof digits, number);
    text.append(digits, result.ptr);
  }
  return text + "]";
}

std::string explain_embedding(const EmbeddingReply& reply) {
  JsonObject json;
  json.add("cached_tokens", reply.num_cached_tokens);
  json.add("dropped_tokens", reply.num_dropped_tokens);
  return json.take();
}

void shorten_embedding(std::vector<float>& embedding, int dimensions) {
  const bool is_finite = std::all_of(embedding.begin(), embedding.end(),
                                     [](float value) { return std::isfinite(value); });
  if (!is_finite) {
    throw Error(ErrorCode::kInvalidArgument,
                "the embedding holds values that are no numbers (NaN or infinite): the model's "
                "file may be broken, or the input out of its range");
  }
  const auto wanted = static_cast<size_t>(dimensions);
  if (wanted == 0 || wanted >= embedding.size()) return;
  embedding.resize(wanted);
  double sum = 0;
  for (const float value : embedding) sum += double{value} * double{value};
  if (sum == 0) return;
  const double scale = 1 / std::sqrt(sum);
  for (float& value : embedding) value = static_cast<float>(value * scale);
}

}  // namespace sluice::api
