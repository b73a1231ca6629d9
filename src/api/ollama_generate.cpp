#include <limits>

#include "api/ollama.h"
#include "api/ollama_dialect.h"
#include "api/parse_common.h"

// POST /api/generate.
namespace sluice::api::ollama {
namespace {

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorCode::kInvalidArgument, what); }

std::optional<std::vector<text::TokenId>> parse_context(const Json& body) {
  const Json* list = array_field(body, "context");
  if (list == nullptr) return std::nullopt;
  std::vector<text::TokenId> context;
  context.reserve(list->size());
  for (const Json& item : *list) {
    const bool is_id = item.is_number_unsigned() &&
                       item.get<uint64_t>() <= uint64_t{std::numeric_limits<int32_t>::max()};
    if (!is_id) fail("field \"context\" must be a list of token ids");
    context.push_back(item.get<text::TokenId>());
  }
  return context;
}

// An empty text is as good as none.
std::optional<std::string> non_empty_field(const Json& body, std::string_view name) {
  auto text = string_field(body, name);
  if (text && text->empty()) text.reset();
  return text;
}

class Generate : public OllamaDialect {
 public:
  using OllamaDialect::OllamaDialect;

  // An empty model name is left to the look-up (404).
  GenerationRequest parse(std::string_view body_text, Work& work) override {
    const Json body = parse_body(body_text, work);
    GenerationRequest request = parse_shared(body);
    request.is_chat = false;
    request.prompt = string_field(body, "prompt").value_or("");
    request.suffix = string_field(body, "suffix").value_or("");
    request.system = non_empty_field(body, "system");
    request.chat_template = non_empty_field(body, "template");
    request.context = parse_context(body);
    request.images = parse_images(body);
    request.is_raw = bool_field(body, "raw").value_or(false);
    const bool has_context = request.context && !request.context->empty();
    if (request.is_raw && (request.chat_template || request.system || has_context)) {
      fail("raw mode does not support template, system, or context");
    }
    request.wants_context = !request.is_raw;
    request.is_load_only = request.prompt.empty();
    check_supported(request);
    return request;
  }

 protected:
  void put_piece(Json& json, const ReplyPiece& piece) const override {
    json["response"] = piece.content;
    if (!piece.thinking.empty()) json["thinking"] = piece.thinking;
  }

  void put_end(Json& json, const Choice& choice) const override {
    const auto& calls = choice.piece.tool_calls;
    if (!calls.empty()) json["tool_calls"] = tool_calls_json(calls);
    if (!choice.end.context.empty()) json["context"] = choice.end.context;
  }
};

}  // namespace

std::unique_ptr<Dialect> make_generate(const Stamp& stamp) {
  return std::make_unique<Generate>(stamp);
}

}  // namespace sluice::api::ollama
