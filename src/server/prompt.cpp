#include "server/prompt.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "api/chat_context.h"
#include "base/error.h"
#include "server/fill_prompt.h"
#include "server/model_layers.h"
#include "text/go_template.h"

namespace sluice::server {
namespace {

std::string quoted(const std::string& name) { return "\"" + name + "\""; }

}  // namespace

void require_abilities(const LoadedModel& model, const CatalogRecord& record,
                       const ChatStyle& style, const api::GenerationRequest& request) {
  const auto refuse = [](const std::string& message) {
    throw Error(ErrorCode::kUnsupported, message);
  };
  if (!model.completes) {
    refuse(quoted(request.model) + " does not support " + (request.is_chat ? "chat" : "generate"));
  }
  if (!request.tools->empty() && !style.abilities.has_tools) {
    refuse(record.name.full_name() + " does not support tools");
  }
  const bool must_think = request.think && request.think->is_enabled && !request.think->is_wish;
  if (must_think && !style.has_thinking()) {
    refuse(quoted(request.model) + " does not support thinking");
  }
  const bool has_images =
      !request.images.empty() ||
      std::any_of(request.messages.begin(), request.messages.end(),
                  [](const api::Message& message) { return !message.images.empty(); });
  if (has_images) refuse(quoted(request.model) + " does not support images");
}

namespace {

// As of models that have no template: Ollama gives them this one.
bool says_nothing(std::string_view source) {
  constexpr size_t kLongest = 100;
  if (source.size() > kLongest) return false;
  std::string compact;
  for (const char c : source) {
    if (c != ' ' && c != '\n') compact.push_back(c);
  }
  return compact == "{{.Prompt}}";
}

// What a Go template reads besides messages and texts.
text::GoPrompt begin_go_prompt(const std::optional<api::Think>& think) {
  text::GoPrompt prompt;
  prompt.is_think_set = think.has_value();
  prompt.think = think && think->is_enabled;
  if (think) prompt.think_level = think->level;
  return prompt;
}

// A model's template is its maker's; what a client brings may make a multiple of what he sends.
text::RenderLimits limits_of_own_template(const api::GenerationRequest& request,
                                          const std::vector<api::Message>& messages) {
  size_t num_bytes = request.prompt.size() + request.suffix.size();
  for (const api::Message& message : messages) num_bytes += message.content.size();
  text::RenderLimits limits;
  limits.max_steps = 1'000'000;
  limits.max_output_bytes = std::min(limits.max_output_bytes, (size_t{1} << 20) + 4 * num_bytes);
  limits.max_memory_bytes = std::min(limits.max_memory_bytes, (size_t{16} << 20) + 16 * num_bytes);
  return limits;
}

// A conversation that may have to lose its oldest messages to fit. `own_template`: the request's;
// or null.
class Conversation {
 public:
  Conversation(const LoadedModel& model, const CatalogRecord& record, const ChatStyle& style,
               const text::GoTemplate* own_template, const api::GenerationRequest& request,
               const std::vector<api::Message>& messages, Work& work)
      : model_(model),
        record_(record),
        style_(style),
        own_template_(own_template),
        request_(request),
        think_(think_of(request, style)),
        messages_(messages),
        work_(work) {
    const text::Tokenizer& tokenizer = *model.tokenizer;
    if (const auto bos = tokenizer.bos()) variables_.bos_token = tokenizer.token_text(*bos);
    variables_.call_id_size = style.format.call_id_size;
    if (const auto eos = tokenizer.eos()) variables_.eos_token = tokenizer.token_text(*eos);
    for (const api::Message& message : messages) {
      work.charge(kMessageBytes + message.content.size() + message.thinking.size());
      values_.push_back(api::message_value(message, variables_));
      has_calls_ = has_calls_ || !message.tool_calls.empty();
    }
  }

  // The prompt without the `num_dropped` oldest messages that may go.
  text::PromptText render(size_t num_dropped) {
    if (own_template_) {
      return render_go(*own_template_, num_dropped, limits_of_own_template(request_, messages_));
    }
    if (!style_.fault.empty()) throw_template_fault();
    if (style_.kind == TemplateKind::kNone) return concatenate(num_dropped);
    if (style_.kind == TemplateKind::kGo) {
      return says_nothing(style_.source) ? concatenate(num_dropped)
                                         : render_go(*record_.go_template, num_dropped);
    }
    if (!has_calls_ || variables_.arguments_as_text) return render_values(num_dropped);
    try {
      return render_values(num_dropped);
    } catch (const Error&) {  // older templates join the arguments to text
      work_.check();
    }
    variables_.arguments_as_text = true;
    const text::Value::List mappings = std::exchange(values_, {});
    for (const api::Message& message : messages_) {
      work_.charge(kMessageBytes + message.content.size() + message.thinking.size());
      values_.push_back(api::message_value(message, variables_));
    }
    try {
      return render_values(num_dropped);
    } catch (const Error&) {
      variables_.arguments_as_text = false;
      values_ = mappings;
      throw;
    }
  }

  // Every message may go but system messages and the last one.
  size_t num_droppable() const { return droppable().size(); }

  // Bytes of the first n messages that may go, for each n.
  std::vector<size_t> dropped_bytes() const {
    std::vector<size_t> sums = {0};
    for (const size_t i : droppable()) {
      const api::Message& message = messages_[i];
      sums.push_back(sums.back() + kMessageBytes + message.content.size() +
                     message.thinking.size());
    }
    return sums;
  }

 private:
  static constexpr size_t kMessageBytes = 64;  // about what a template writes around a message

  std::vector<size_t> droppable() const {
    std::vector<size_t> indices;
    for (size_t i = 0; i + 1 < messages_.size(); ++i) {
      if (messages_[i].role != "system") indices.push_back(i);
    }
    return indices;
  }

  // Indices of what is left.
  std::vector<size_t> kept(size_t num_dropped) const {
    work_.charge(messages_.size());
    std::vector<size_t> indices;
    for (size_t i = 0; i < messages_.size(); ++i) {
      const bool may_go = messages_[i].role != "system" && i + 1 < messages_.size();
      if (may_go && num_dropped > 0) {
        --num_dropped;
      } else {
        indices.push_back(i);
      }
    }
    return indices;
  }

  text::PromptText render_values(size_t num_dropped) {
    text::Value::List list;
    for (const size_t i : kept(num_dropped)) list.push_back(values_[i]);
    return model_.chat_template.parsed->render(
        api::chat_context(std::move(list), request_.tools, think_, variables_), {}, work_);
  }

  // Models without any template get the contents one behind the other.
  text::PromptText concatenate(size_t num_dropped) const {
    spdlog::debug("{} has no chat template: messages are put one behind the other", request_.model);
    std::string text;
    for (const size_t i : kept(num_dropped)) {
      work_.charge(messages_[i].content.size());
      if (!text.empty()) text += "\n\n";
      text += messages_[i].content;
    }
    return {std::move(text), false};
  }

  text::PromptText render_go(const text::GoTemplate& go, size_t num_dropped,
                             const text::RenderLimits& limits = {}) const {
    text::GoPrompt prompt = begin_go_prompt(think_);
    for (const size_t i : kept(num_dropped)) {
      prompt.messages.push_back(api::go_message_value(messages_[i]));
    }
    for (const api::Json& tool : *request_.tools) prompt.tools.push_back(api::to_value(tool));
    return go.render(prompt, limits, work_);
  }

  [[noreturn]] void throw_template_fault() const {
    throw Error(ErrorCode::kUnsupported,
                "the chat template of model " + quoted(request_.model) + " cannot be used (" +
                    style_.fault +
                    "); send a prompt with \"raw\": true, or use a model with another template");
  }

  const LoadedModel& model_;
  const CatalogRecord& record_;
  const ChatStyle& style_;
  const text::GoTemplate* own_template_;
  const api::GenerationRequest& request_;
  const std::optional<api::Think> think_;
  const std::vector<api::Message>& messages_;
  Work& work_;
  api::TemplateVariables variables_;
  text::Value::List values_;  // the messages as templates see them
  bool has_calls_ = false;
};

// Adds what the model wants around a prompt, but never a second BOS.
std::vector<text::TokenId> encode(const text::Tokenizer& tokenizer, const text::PromptText& prompt,
                                  Work& work) {
  text::EncodeOptions options;
  options.parse_special = true;
  const auto bos = tokenizer.bos();
  const std::string_view bos_text = bos ? tokenizer.token_text(*bos) : "";
  const bool has_bos = !bos_text.empty() && prompt.text().starts_with(bos_text) &&
                       prompt.trusted_end(0) >= bos_text.size();
  options.add_special = !has_bos;
  return tokenizer.encode(prompt, options, work);
}

// A text that cannot have so few tokens, however well it is tokenized, is not tokenized at all.
void refuse_hopeless(const text::Tokenizer& tokenizer, const text::PromptText& prompt,
                     int context_limit) {
  const size_t least = tokenizer.least_num_tokens(prompt.size());
  if (least >= static_cast<size_t>(context_limit)) {
    throw_too_long("at least " + std::to_string(least), context_limit);
  }
}

// Looks for the fewest messages to drop. What a number of messages leaves is guessed from the bytes
// that go with them, between two numbers of which one leaves too much and the other little enough;
// so a few prompts are made, most of about the context's size, however long the conversation is.
class Fitting {
 public:
  Fitting(Conversation& conversation, const text::Tokenizer& tokenizer, int context_limit,
          Work& work)
      : conversation_(conversation),
        tokenizer_(tokenizer),
        context_limit_(context_limit),
        room_(static_cast<size_t>(context_limit - 1)),
        work_(work) {}

  PreparedPrompt run(bool truncate) {
    text::PromptText whole = conversation_.render(0);
    const size_t num_droppable = truncate ? conversation_.num_droppable() : 0;
    if (num_droppable == 0) refuse_hopeless(tokenizer_, whole, context_limit_);
    std::optional<size_t> whole_size;
    if (tokenizer_.least_num_tokens(whole.size()) <= room_) {
      std::vector<text::TokenId> tokens = encode(tokenizer_, whole, work_);
      whole_size = tokens.size();
      if (*whole_size <= room_) return {std::move(whole).take_text(), std::move(tokens), 0};
      if (num_droppable == 0) throw_too_long(std::to_string(*whole_size), context_limit_);
    }
    // First what is left without all that may go: when that is too long, nothing helps.
    const Outcome least = attempt(num_droppable);
    if (least == Outcome::kTooLong) throw_too_long(whole_text(whole, whole_size), context_limit_);
    if (!whole_size) whole_size = encode(tokenizer_, whole, work_).size();
    search(*whole_size, num_droppable, least == Outcome::kFits);
    if (!best_) throw_too_long(std::to_string(*whole_size), context_limit_);
    best_->num_dropped_tokens = static_cast<int>(*whole_size - best_->tokens.size());
    return std::move(*best_);
  }

 private:
  enum class Outcome { kFits, kTooLong, kRefused };

  std::string whole_text(const text::PromptText& whole, std::optional<size_t> size) const {
    if (size) return std::to_string(*size);
    return "at least " + std::to_string(tokenizer_.least_num_tokens(whole.size()));
  }

  // Makes the prompt without `num_dropped` messages; keeps it when it fits. num_tokens_ is its
  // size, or a bound that is too much already.
  Outcome attempt(size_t num_dropped) {
    text::PromptText prompt;
    try {
      prompt = conversation_.render(num_dropped);
    } catch (const Error&) {
      // Some templates refuse a conversation that begins with a reply: try one message less.
      work_.check();
      return Outcome::kRefused;
    }
    num_tokens_ = tokenizer_.least_num_tokens(prompt.size());
    if (num_tokens_ > room_) return Outcome::kTooLong;
    std::vector<text::TokenId> tokens = encode(tokenizer_, prompt, work_);
    num_tokens_ = tokens.size();
    if (num_tokens_ > room_) return Outcome::kTooLong;
    best_ = PreparedPrompt{std::move(prompt).take_text(), std::move(tokens), 0};
    return Outcome::kFits;
  }

  // `low` leaves too much; `high` fits, or is one more than may be dropped.
  void search(size_t whole_size, size_t num_droppable, bool last_fits) {
    const std::vector<size_t> bytes = conversation_.dropped_bytes();
    size_t low = 0, low_tokens = whole_size;
    size_t high = last_fits ? num_droppable : num_droppable + 1;
    size_t high_tokens = last_fits ? num_tokens_ : 0;
    for (int round = 0; high - low > 1; ++round) {
      const size_t high_bytes = bytes[std::min(high, num_droppable)];
      const double share =
          static_cast<double>(low_tokens - room_) / static_cast<double>(low_tokens - high_tokens);
      const double wanted =
          static_cast<double>(bytes[low]) + share * static_cast<double>(high_bytes - bytes[low]);
      const auto found = std::lower_bound(bytes.begin(), bytes.end(), static_cast<size_t>(wanted));
      size_t guess = static_cast<size_t>(found - bytes.begin());
      constexpr int kHalveEvery = 3;  // guesses that come no nearer must not go on
      if (round % kHalveEvery == kHalveEvery - 1) guess = low + (high - low) / 2;
      guess = std::clamp(guess, low + 1, high - 1);
      switch (attempt(guess)) {
        case Outcome::kFits:
          high = guess;
          high_tokens = num_tokens_;
          break;
        case Outcome::kTooLong:
          low = guess;
          low_tokens = num_tokens_;
          break;
        case Outcome::kRefused:
          low = guess;
          low_tokens = room_ + 1;
          break;
      }
    }
  }

  Conversation& conversation_;
  const text::Tokenizer& tokenizer_;
  const int context_limit_;
  const size_t room_;
  Work& work_;
  size_t num_tokens_ = 0;
  std::optional<PreparedPrompt> best_;
};

// Puts the tokens of an earlier reply in front of the prompt.
void prepend_context(const text::Tokenizer& tokenizer, const std::vector<text::TokenId>& context,
                     PreparedPrompt& prompt) {
  check_token_ids(tokenizer, context, "context");
  if (context.empty()) return;
  prompt.text.insert(0, tokenizer.decode(context, true));
  const auto bos = tokenizer.bos();
  if (bos && !prompt.tokens.empty() && prompt.tokens.front() == *bos) {
    prompt.tokens.erase(prompt.tokens.begin());
  }
  prompt.tokens.insert(prompt.tokens.begin(), context.begin(), context.end());
}

constexpr int kLeastRoom = 8;  // tokens of a context in which cutting makes sense

bool may_drop_middle(const api::GenerationRequest& request, const PromptLimits& limits) {
  return request.truncate && request.shift && limits.context > kLeastRoom;
}

// Leaves the beginning and the end of a prompt that is too long.
void drop_middle(const text::Tokenizer& tokenizer, const api::GenerationRequest& request,
                 const PromptLimits& limits, PreparedPrompt& prompt) {
  const size_t size = prompt.tokens.size();
  const auto room = static_cast<size_t>(limits.context - 1);
  if (size <= room) return;
  if (!may_drop_middle(request, limits)) {
    throw_too_long(std::to_string(size), limits.context);
  }
  size_t num_first = limits.num_keep < 0 ? size : static_cast<size_t>(limits.num_keep);
  if (tokenizer.bos() && prompt.tokens.front() == *tokenizer.bos()) ++num_first;
  num_first = std::min(num_first, room - kLeastRoom / 2);
  const size_t num_last = (room - num_first) / 2;
  const auto begin = prompt.tokens.begin();
  prompt.tokens.erase(begin + static_cast<ptrdiff_t>(num_first),
                      begin + static_cast<ptrdiff_t>(size - num_last));
  prompt.num_dropped_tokens = static_cast<int>(size - prompt.tokens.size());
}

PreparedPrompt tokenize(const text::Tokenizer& tokenizer, text::PromptText text,
                        const PromptLimits& limits, bool may_cut, Work& work) {
  if (!may_cut) refuse_hopeless(tokenizer, text, limits.context);
  PreparedPrompt prompt;
  prompt.tokens = encode(tokenizer, text, work);
  prompt.text = std::move(text).take_text();
  return prompt;
}

text::PromptText render_insert(const CatalogRecord& record, const ChatStyle& style,
                               const text::GoTemplate* own_template,
                               const api::GenerationRequest& request, Work& work) {
  const text::GoTemplate& go = own_template ? *own_template : *record.go_template;
  text::GoPrompt prompt = begin_go_prompt(think_of(request, style));
  prompt.prompt = request.prompt;
  prompt.suffix = request.suffix;
  const text::RenderLimits limits =
      own_template ? limits_of_own_template(request, {}) : text::RenderLimits();
  return go.render(prompt, limits, work);
}

// What the model is to write between prompt and suffix: a Go template knows how it is asked for
// that, or the model has tokens for it.
PreparedPrompt prepare_insert(const LoadedModel& model, const CatalogRecord& record,
                              const ChatStyle& style, const text::GoTemplate* own_template,
                              const api::GenerationRequest& request, const PromptLimits& limits,
                              Work& work) {
  const text::Tokenizer& tokenizer = *model.tokenizer;
  const bool may_cut = may_drop_middle(request, limits);
  const text::GoTemplate* go = own_template ? own_template : record.go_template.get();
  if (go && go->reads("Suffix")) {
    return tokenize(tokenizer, render_insert(record, style, own_template, request, work), limits,
                    may_cut, work);
  }
  const auto fill = own_template ? std::nullopt : tokenizer.fill_tokens();
  if (!fill) {
    throw Error(ErrorCode::kUnsupported, record.name.full_name() + " does not support insert");
  }
  return fill_prompt(tokenizer, *fill, request, limits.context, may_cut, work);
}

}  // namespace

void throw_too_long(const std::string& num_tokens, int context_limit) {
  throw Error(ErrorCode::kContextOverflow,
              "the prompt is too long: it has " + num_tokens + " tokens and the context of " +
                  std::to_string(context_limit) + " leaves room for " +
                  std::to_string(context_limit - 1) + "; shorten it or raise num_ctx");
}

void check_token_ids(const text::Tokenizer& tokenizer, const std::vector<text::TokenId>& ids,
                     std::string_view field) {
  for (const text::TokenId id : ids) {
    if (id >= 0 && static_cast<size_t>(id) < tokenizer.vocab_size()) continue;
    throw Error(ErrorCode::kInvalidArgument, std::string(field) + " holds the token id " +
                                                 std::to_string(id) +
                                                 ", which this model does not have");
  }
}

PreparedPrompt prepare_prompt(const LoadedModel& model, const CatalogRecord& record,
                              const ChatStyle& style, const api::GenerationRequest& request,
                              const PromptLimits& limits, Work& work) {
  require_abilities(model, record, style, request);
  const text::Tokenizer& tokenizer = *model.tokenizer;
  if (request.prompt_tokens) {
    check_token_ids(tokenizer, *request.prompt_tokens, "prompt");
    PreparedPrompt prompt;
    prompt.tokens = *request.prompt_tokens;
    drop_middle(tokenizer, request, limits, prompt);
    return prompt;
  }
  api::ModelPrompt layers;
  layers.system = record.texts.system;
  layers.messages = layer_messages(record, work);
  const std::vector<api::Message> messages =
      request.is_raw ? std::vector<api::Message>() : api::compose_messages(request, layers);
  std::optional<text::GoTemplate> own_template;
  if (request.chat_template) own_template.emplace(*request.chat_template);
  const text::GoTemplate* own = own_template ? &*own_template : nullptr;
  Conversation conversation(model, record, style, own, request, messages, work);
  if (request.is_chat) {
    return Fitting(conversation, tokenizer, limits.context, work).run(request.truncate);
  }
  PreparedPrompt prompt;
  if (!request.is_raw && !request.suffix.empty()) {
    prompt = prepare_insert(model, record, style, own, request, limits, work);
  } else {
    // A raw prompt is the client's own: it may spell control tokens.
    text::PromptText text =
        request.is_raw ? text::PromptText(request.prompt, true) : conversation.render(0);
    prompt = tokenize(tokenizer, std::move(text), limits, may_drop_middle(request, limits), work);
  }
  if (request.context) prepend_context(tokenizer, *request.context, prompt);
  drop_middle(tokenizer, request, limits, prompt);
  return prompt;
}

}  // namespace sluice::server
