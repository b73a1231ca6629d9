#include "api/openai.h"
#include "api/openai_dialect.h"
#include "api/parse_common.h"

// POST /v1/completions.
namespace sluice::api::openai {
namespace {

class Completion : public OpenAiDialect {
 public:
  explicit Completion(const Stamp& stamp)
      : OpenAiDialect(stamp, "cmpl-", "text_completion", "text_completion") {}

  GenerationRequest parse(std::string_view body_text, Work& work) override {
    const Json body = parse_body(body_text, work);
    GenerationRequest request = parse_shared(body);
    request.is_chat = false;
    request.prompt = string_field(body, "prompt").value_or("");
    request.suffix = string_field(body, "suffix").value_or("");
    if (const auto top = int_field(body, "logprobs", 0, 20)) {
      request.num_top_logprobs = static_cast<int>(*top);
    }
    if (bool_field(body, "echo").value_or(false)) {
      throw Error(ErrorCode::kUnsupported, "echo is not supported");
    }
    check_supported(request);
    return request;
  }

  std::string piece(const ReplyPiece& piece) override {
    return event(text_choice(piece.content, nullptr));
  }

 protected:
  Json choice_json(const Choice& choice) const override {
    return text_choice(choice.piece.content, finish_reason(choice.end.reason, false));
  }

  Json last_choice_json(const ReplyEnd& end) const override {
    return text_choice("", finish_reason(end.reason, false));
  }

 private:
  static Json text_choice(const std::string& text, const Json& finish) {
    Json choice;
    choice["text"] = text;
    choice["index"] = 0;
    choice["finish_reason"] = finish;
    return choice;
  }
};

}  // namespace

std::unique_ptr<Dialect> make_completion(const Stamp& stamp) {
  return std::make_unique<Completion>(stamp);
}

}  // namespace sluice::api::openai
