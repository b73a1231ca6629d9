#include <algorithm>

#include "api/embedding_common.h"
#include "api/error.h"
#include "api/ollama.h"
#include "api/parse_common.h"
#include "base/error.h"

// POST /api/embed, and /api/embeddings of old.
namespace sluice::api::ollama {
namespace {

EmbeddingRequest parse_fields(const Json& body) {
  EmbeddingRequest request = parse_embedding_fields(body);
  if (const Json* options = object_field(body, "options")) {
    request.options = parse_options(*options);
  }
  if (const Json* keep = find_field(body, "keep_alive")) {
    request.keep_alive = parse_keep_alive(*keep);
  }
  return request;
}

class Embed : public EmbeddingDialect {
 public:
  EmbeddingRequest parse(std::string_view body_text, Work& work) override {
    JsonTree tree = parse_body(body_text, work);
    Json& body = *tree;
    EmbeddingRequest request = parse_fields(body);
    request.truncate = bool_field(body, "truncate").value_or(true);
    Json* input = find_field(body, "input");
    for (TextOrTokens& item : parse_texts_or_tokens(input, "input", kMaxEmbeddingInputs)) {
      if (!std::holds_alternative<std::string>(item)) fail("invalid input type");
      request.inputs.push_back(std::move(item));
    }
    const bool is_empty = request.inputs.size() == 1 && request.inputs[0] == TextOrTokens("");
    if (is_empty) request.inputs.clear();
    model_ = request.model;
    return request;
  }

  std::string whole(const EmbeddingReply& reply) const override {
    JsonList embeddings;
    for (const auto& embedding : reply.embeddings) embeddings.add_json(numbers_text(embedding));
    JsonObject json;
    json.add("model", model_);
    json.add_json("embeddings", embeddings.take());
    if (reply.embeddings.empty()) return json.take();
    json.add("total_duration", reply.total.count());
    json.add("load_duration", std::max<int64_t>(1, reply.load.count()));
    json.add("prompt_eval_count", reply.num_prompt_tokens);
    json.add_json("sluice", explain_embedding(reply));
    return json.take();
  }

 private:
  std::string model_;
};

class Embeddings : public EmbeddingDialect {
 public:
  EmbeddingRequest parse(std::string_view body_text, Work& work) override {
    JsonTree tree = parse_body(body_text, work);
    Json& body = *tree;
    EmbeddingRequest request = parse_fields(body);
    request.dimensions = 0;
    if (request.model.empty()) fail("model is required");
    std::string prompt = take_string(body, "prompt");
    if (!prompt.empty()) request.inputs.emplace_back(std::move(prompt));
    return request;
  }

  std::string whole(const EmbeddingReply& reply) const override {
    const bool is_empty = reply.embeddings.empty();
    return R"({"embedding":)" + (is_empty ? "[]" : numbers_text(reply.embeddings.front())) + "}";
  }
};

}  // namespace

std::unique_ptr<EmbeddingDialect> make_embed() { return std::make_unique<Embed>(); }

std::unique_ptr<EmbeddingDialect> make_embeddings() { return std::make_unique<Embeddings>(); }

}  // namespace sluice::api::ollama
