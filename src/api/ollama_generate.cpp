#include "api/error.h"
#include "api/ollama.h"
#include "api/ollama_dialect.h"
#include "api/parse_common.h"

// POST /api/generate.
namespace sluice::api::ollama {
namespace {

// An empty text is as good as none.
std::optional<std::string> non_empty_field(const Json& body, std::string_view name) {
  auto text = string_field(body, name);
  if (text && text->empty()) text.reset();
  return text;
}

class Generate : public OllamaDialect {
 public:
  using OllamaDialect::OllamaDialect;

 protected:
  // An empty model name is left to the look-up (404).
  void take_fields(Json& body, GenerationRequest& request) const override {
    refuse_unhonoured(body, {"format"});
    request.is_chat = false;
    request.prompt = take_string(body, "prompt");
    request.suffix = string_field(body, "suffix").value_or("");
    request.system = non_empty_field(body, "system");
    request.chat_template = non_empty_field(body, "template");
    if (const Json* context = array_field(body, "context")) {
      request.context = parse_tokens(*context, "context");
    }
    request.images = parse_images(body);
    request.is_raw = bool_field(body, "raw").value_or(false);
    const bool has_context = request.context && !request.context->empty();
    if (request.is_raw && (request.chat_template || request.system || has_context)) {
      fail("raw mode does not support template, system, or context");
    }
    if (request.is_raw && !request.suffix.empty()) fail("raw mode does not support suffix");
    request.wants_context = !request.is_raw;
    request.is_load_only = request.prompt.empty();
  }

  void put_piece(JsonObject& json, const ReplyPiece& piece) const override {
    json.add("response", piece.content);
    if (!piece.thinking.empty()) json.add("thinking", piece.thinking);
  }

  void put_end(JsonObject& json, const Choice& choice) const override {
    const auto& calls = choice.piece.tool_calls;
    if (!calls.empty()) json.add_json("tool_calls", tool_calls_json(calls));
    if (choice.end.context.empty()) return;
    JsonList context;
    for (const text::TokenId id : choice.end.context) context.add(id);
    json.add_json("context", context.take());
  }
};

}  // namespace

std::unique_ptr<Dialect> make_generate(const Stamp& stamp) {
  return std::make_unique<Generate>(stamp);
}

}  // namespace sluice::api::ollama
