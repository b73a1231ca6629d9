#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>

#include "api/embedding.h"
#include "base/error.h"

namespace sluice::api {
namespace {

// Written by hand: a JSON value for every number would take ten times the memory, and numbers as
// doubles twice the bytes.
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

std::string base64_text(const std::vector<float>& numbers) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<uint8_t> bytes;
  bytes.reserve(numbers.size() * 4);
  for (const float number : numbers) {
    const auto bits = std::bit_cast<uint32_t>(number);
    for (int shift = 0; shift < 32; shift += 8)
      bytes.push_back(static_cast<uint8_t>(bits >> shift));
  }
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) group = group << 8 | (k < count ? bytes[i + k] : 0u);
    for (size_t k = 0; k < 4; ++k) {
      text += k <= count ? kDigits[group >> (18 - 6 * k) & 63] : '=';
    }
  }
  return text;
}

std::string joined(const std::vector<std::vector<float>>& embeddings) {
  std::string text;
  for (const auto& embedding : embeddings) {
    if (!text.empty()) text += ',';
    text += numbers_text(embedding);
  }
  return text;
}

Json explanation(const EmbeddingReply& reply) {
  Json json;
  json["cached_tokens"] = reply.num_cached_tokens;
  json["dropped_tokens"] = reply.num_dropped_tokens;
  return json;
}

// Puts `members`, an object, behind what is written of another one.
void append_members(std::string& object, const Json& members) {
  object += "," + dump_json(members).substr(1);
}

}  // namespace

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

std::string ollama::encode_embed(const EmbeddingReply& reply) {
  std::string text = R"({"model":)" + dump_json(Json(reply.model)) + R"(,"embeddings":[)" +
                     joined(reply.embeddings) + "]";
  Json rest = Json::object();
  if (reply.embeddings.empty()) return text + "}";
  rest["total_duration"] = reply.total.count();
  rest["load_duration"] = std::max<int64_t>(1, reply.load.count());
  rest["prompt_eval_count"] = reply.num_prompt_tokens;
  rest["sluice"] = explanation(reply);
  append_members(text, rest);
  return text;
}

std::string ollama::encode_embeddings(const EmbeddingReply& reply) {
  const bool is_empty = reply.embeddings.empty();
  return R"({"embedding":)" + (is_empty ? "[]" : numbers_text(reply.embeddings.front())) + "}";
}

std::string openai::encode_embeddings(const EmbeddingReply& reply, bool is_base64) {
  std::string text = R"({"object":"list","data":[)";
  for (size_t i = 0; i < reply.embeddings.size(); ++i) {
    const auto& embedding = reply.embeddings[i];
    text += i == 0 ? "" : ",";
    text += R"({"object":"embedding","embedding":)";
    text += is_base64 ? "\"" + base64_text(embedding) + "\"" : numbers_text(embedding);
    text += R"(,"index":)" + std::to_string(i) + "}";
  }
  text += "]";
  Json rest;
  rest["model"] = reply.model;
  rest["usage"]["prompt_tokens"] = reply.num_prompt_tokens;
  rest["usage"]["total_tokens"] = reply.num_prompt_tokens;
  rest["sluice"] = explanation(reply);
  append_members(text, rest);
  return text;
}

}  // namespace sluice::api
