#include <algorithm>
#include <bit>
#include <cstdint>

#include "api/embedding_common.h"
#include "api/error.h"
#include "api/openai.h"
#include "api/parse_common.h"
#include "base/error.h"

// POST /v1/embeddings.
namespace sluice::api::openai {
namespace {

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

class Embeddings : public EmbeddingDialect {
 public:
  EmbeddingRequest parse(std::string_view body_text, Work& work) override {
    JsonTree tree = parse_body(body_text, work);
    Json& body = *tree;
    EmbeddingRequest request = parse_embedding_fields(body);
    if (request.model.empty()) fail("model is required");
    const std::string format = string_field(body, "encoding_format").value_or("float");
    if (format != "float" && format != "base64" && !format.empty()) {
      fail("invalid encoding_format: must be \"float\" or \"base64\"");
    }
    is_base64_ = format == "base64";
    request.inputs = parse_texts_or_tokens(find_field(body, "input"), "input", kMaxEmbeddingInputs);
    if (request.inputs.empty()) fail("invalid input");
    model_ = request.model;
    return request;
  }

  std::string whole(const EmbeddingReply& reply) const override {
    JsonList list;
    for (size_t i = 0; i < reply.embeddings.size(); ++i) {
      const auto& embedding = reply.embeddings[i];
      JsonObject item;
      item.add("object", "embedding");
      item.add_json("embedding",
                    is_base64_ ? json_text(base64_text(embedding)) : numbers_text(embedding));
      item.add("index", i);
      list.add_json(item.take());
    }
    JsonObject usage;
    usage.add("prompt_tokens", reply.num_prompt_tokens);
    usage.add("total_tokens", reply.num_prompt_tokens);
    JsonObject json;
    json.add("object", "list");
    json.add_json("data", list.take());
    json.add("model", model_);
    json.add_json("usage", usage.take());
    json.add_json("sluice", explain_embedding(reply));
    return json.take();
  }

 private:
  std::string model_;
  bool is_base64_ = false;
};

}  // namespace

std::unique_ptr<EmbeddingDialect> make_embeddings() { return std::make_unique<Embeddings>(); }

}  // namespace sluice::api::openai
