#include <algorithm>

#include "api/embedding_common.h"
#include "api/ollama.h"
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
    const Json body = parse_body(body_text, work);
    EmbeddingRequest request = parse_fields(body);
    request.truncate = bool_field(body, "truncate").value_or(true);
    request.inputs = parse_inputs(find_field(body, "input"));
    if (request.inputs == std::vector<std::string>{""}) request.inputs.clear();
    model_ = request.model;
    return request;
  }

  std::string whole(const EmbeddingReply& reply) const override {
    std::string text = R"({"model":)" + dump_json(Json(model_)) + R"(,"embeddings":[)";
    for (size_t i = 0; i < reply.embeddings.size(); ++i) {
      if (i > 0) text += ',';
      text += numbers_text(reply.embeddings[i]);
    }
    text += ']';
    if (reply.embeddings.empty()) return text + "}";
    Json rest;
    rest["total_duration"] = reply.total.count();
    rest["load_duration"] = std::max<int64_t>(1, reply.load.count());
    rest["prompt_eval_count"] = reply.num_prompt_tokens;
    rest["sluice"] = explain_embedding(reply);
    append_members(text, rest);
    return text;
  }

  std::string error_body(int status, std::string_view message) const override {
    return ollama::error_body(status, message);
  }

 private:
  std::string model_;
};

class Embeddings : public EmbeddingDialect {
 public:
  EmbeddingRequest parse(std::string_view body_text, Work& work) override {
    const Json body = parse_body(body_text, work);
    EmbeddingRequest request = parse_fields(body);
    request.dimensions = 0;
    if (request.model.empty()) throw Error(ErrorCode::kInvalidArgument, "model is required");
    std::string prompt = string_field(body, "prompt").value_or("");
    if (!prompt.empty()) request.inputs.push_back(std::move(prompt));
    return request;
  }

  std::string whole(const EmbeddingReply& reply) const override {
    const bool is_empty = reply.embeddings.empty();
    return R"({"embedding":)" + (is_empty ? "[]" : numbers_text(reply.embeddings.front())) + "}";
  }

  std::string error_body(int status, std::string_view message) const override {
    return ollama::error_body(status, message);
  }
};

}  // namespace

std::unique_ptr<EmbeddingDialect> make_embed() { return std::make_unique<Embed>(); }

std::unique_ptr<EmbeddingDialect> make_embeddings() { return std::make_unique<Embeddings>(); }

}  // namespace sluice::api::ollama
