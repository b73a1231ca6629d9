#include <algorithm>
#include <utility>

#include "api/encode_common.h"
#include "api/openai.h"
#include "api/openai_dialect.h"
#include "api/parse_common.h"

// POST /v1/completions.
namespace sluice::api::openai {
namespace {

// A token's text, or, where it is a part of a character, its bytes as OpenAI writes them.
std::string token_name(const std::string& token) {
  if (is_utf8(token)) return token;
  std::string name = "bytes:";
  for (const char character : token) {
    constexpr char kDigits[] = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(character);
    name += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return name;
}

// Characters that begin in these bytes.
int count_characters(const std::string& bytes) {
  return static_cast<int>(std::count_if(bytes.begin(), bytes.end(), [](char character) {
    return (static_cast<unsigned char>(character) & 0xC0) != 0x80;
  }));
}

// The prompt is put into the model's template, as Ollama does, unless it comes as token ids.
class Completion : public OpenAiDialect {
 public:
  explicit Completion(const Stamp& stamp)
      : OpenAiDialect(stamp, "cmpl-", "text_completion", "text_completion") {}

  std::string piece(const ReplyPiece& piece) override {
    return event(text_choice(piece, piece.index, {}));
  }

 protected:
  void take_fields(Json& body, GenerationRequest& request, Work&) override {
    request.is_chat = false;
    request.takes_parts = false;
    request.other_prompts =
        parse_texts_or_tokens(find_field(body, "prompt"), "prompt", kMaxReplies);
    if (request.other_prompts.empty()) request.other_prompts.emplace_back("");
    request.take_other_prompt(1);
    request.other_prompts.erase(request.other_prompts.begin());
    take_num_choices(body, request);
    offsets_.resize(request.num_prompts() * static_cast<size_t>(request.num_choices));
    request.echo = bool_field(body, "echo").value_or(false);
    request.suffix = string_field(body, "suffix").value_or("");
    const bool has_tokens =
        request.prompt_tokens || std::ranges::any_of(request.other_prompts, [](const auto& prompt) {
          return !std::holds_alternative<std::string>(prompt);
        });
    if (has_tokens && !request.suffix.empty()) fail("a suffix needs a prompt that is text");
    if (const auto top = int_field(body, "logprobs", 0, 20)) {
      request.num_top_logprobs = static_cast<int>(*top);
      has_top_ = *top > 0;
    }
    if (request.echo && request.num_top_logprobs >= 0) {
      refuse("echo with logprobs is not supported: log-probabilities are told of replies alone");
    }
    refuse_unhonoured(body, {"echo", "logit_bias", "n", "response_format"});
  }

  std::string choice_json(const Choice& choice) override {
    return text_choice(choice.piece, choice.end.index, finish_reason(choice.end.reason, false));
  }

  std::string last_choice_json(const ReplyEnd& end) const override {
    JsonObject choice;
    choice.add("text", "");
    choice.add("index", end.index);
    choice.add("finish_reason", finish_reason(end.reason, false));
    return choice.take();
  }

 private:
  // `finish`: "" before the end.
  std::string text_choice(const ReplyPiece& piece, int index, std::string_view finish) {
    JsonObject choice;
    choice.add("text", piece.content);
    choice.add("index", index);
    if (!piece.logprobs.empty()) {
      int& offset = offsets_.at(static_cast<size_t>(index));
      choice.add_json("logprobs", token_lists(piece.logprobs, offset));
    }
    choice.add_json("finish_reason", finish.empty() ? "null" : json_text(finish));
    return choice.take();
  }

  // `offset`: where in the reply's text the next token begins, in characters.
  std::string token_lists(const std::vector<ReplyLogprob>& logprobs, int& offset) const {
    JsonList tokens, token_logprobs, top_logprobs, text_offset;
    for (const ReplyLogprob& item : logprobs) {
      tokens.add(token_name(item.token));
      token_logprobs.add(finite_logprob(item.logprob));
      text_offset.add(offset);
      offset += count_characters(item.token);
      JsonObject top;
      for (const ReplyLogprob& other : item.top) {
        top.add(token_name(other.token), finite_logprob(other.logprob));
      }
      top_logprobs.add_json(top.take());
    }
    JsonObject json;
    json.add_json("tokens", tokens.take());
    json.add_json("token_logprobs", token_logprobs.take());
    json.add_json("top_logprobs", has_top_ ? top_logprobs.take() : "null");
    json.add_json("text_offset", text_offset.take());
    return json.take();
  }

  bool has_top_ = false;
  std::vector<int> offsets_;  // by prompt
};

}  // namespace

std::unique_ptr<Dialect> make_completion(const Stamp& stamp) {
  return std::make_unique<Completion>(stamp);
}

}  // namespace sluice::api::openai
