#include "server/prompt.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "api/chat_context.h"
#include "base/error.h"

namespace sluice::server {
namespace {

std::string quoted(const std::string& name) { return "\"" + name + "\""; }

void check_supported(const LoadedModel& model, const store::ModelRecord& record,
                     const api::GenerationRequest& request) {
  const auto refuse = [](const std::string& message) {
    throw Error(ErrorCode::kUnsupported, message);
  };
  if (!model.has_capability("completion")) {
    refuse(quoted(request.model) + " does not support " + (request.is_chat ? "chat" : "generate"));
  }
  if (!request.suffix.empty()) refuse(record.name.full_name() + " does not support insert");
  if (!request.tools.empty() && !model.has_capability("tools")) {
    refuse(record.name.full_name() + " does not support tools");
  }
  if (request.think && request.think->is_enabled && !model.has_capability("thinking")) {
    refuse(quoted(request.model) + " does not support thinking");
  }
  const bool has_images =
      !request.images.empty() ||
      std::any_of(request.messages.begin(), request.messages.end(),
                  [](const api::Message& message) { return !message.images.empty(); });
  if (has_images) refuse(quoted(request.model) + " does not support images");
  if (request.format.kind != api::FormatKind::kText) {
    refuse("constrained output (format) is not supported yet; leave `format` out");
  }
  if (request.chat_template) {
    refuse("templates in the request are not supported; leave `template` out or use `raw`");
  }
}

// Models without any template get the contents one behind the other.
std::string concatenate(const std::vector<api::Message>& messages) {
  std::string text;
  for (const api::Message& message : messages) {
    if (!text.empty()) text += "\n\n";
    text += message.content;
  }
  return text;
}

bool is_plain_go_template(std::string_view source) {
  std::string compact;
  for (const char c : source) {
    if (c != ' ' && c != '\n') compact.push_back(c);
  }
  return compact == "{{.Prompt}}";
}

std::string render(const LoadedModel& model, const store::ModelRecord& record,
                   const api::GenerationRequest& request, const std::vector<api::Message>& messages,
                   Work& work) {
  if (!model.template_fault.empty()) {
    throw Error(ErrorCode::kUnsupported, "the chat template of model " + quoted(request.model) +
                                             " cannot be used (" + model.template_fault +
                                             "); send a prompt with \"raw\": true, or use a model "
                                             "with another template");
  }
  if (!model.chat_template) {
    const std::string& go_template = record.texts.chat_template;
    if (!go_template.empty() && !is_plain_go_template(go_template)) {
      throw Error(ErrorCode::kUnsupported,
                  "model " + quoted(request.model) +
                      " has only a template in Ollama's Go form, which is not supported yet; send "
                      "a prompt with \"raw\": true, or use a model with a template of its own");
    }
    spdlog::debug("{} has no chat template: messages are put one behind the other", request.model);
    return concatenate(messages);
  }
  api::TemplateVariables variables;
  const text::Tokenizer& tokenizer = *model.tokenizer;
  if (const auto bos = tokenizer.bos()) variables.bos_token = tokenizer.token_text(*bos);
  if (const auto eos = tokenizer.eos()) variables.eos_token = tokenizer.token_text(*eos);
  const auto render_with = [&] {
    return model.chat_template->render(
        api::chat_context(messages, request.tools, request.think, variables), {}, work);
  };
  const bool has_calls =
      std::any_of(messages.begin(), messages.end(),
                  [](const api::Message& message) { return !message.tool_calls.empty(); });
  if (!has_calls) return render_with();
  try {
    return render_with();
  } catch (const Error&) {  // older templates join the arguments to text
    work.check();
    variables.arguments_as_text = true;
    return render_with();
  }
}

// Adds what the model wants around a prompt, but never a second BOS.
std::vector<text::TokenId> encode(const text::Tokenizer& tokenizer, const std::string& text,
                                  Work& work) {
  text::EncodeOptions options;
  options.parse_special = true;
  const auto bos = tokenizer.bos();
  const bool has_bos = bos && !text.empty() && text.starts_with(tokenizer.token_text(*bos));
  options.add_special = !has_bos;
  return tokenizer.encode(text, options, work);
}

[[noreturn]] void throw_too_long(size_t num_tokens, int context_limit) {
  throw Error(ErrorCode::kContextOverflow,
              "the prompt is too long: it has " + std::to_string(num_tokens) +
                  " tokens and the context of " + std::to_string(context_limit) +
                  " leaves room for " + std::to_string(context_limit - 1) +
                  "; shorten it or raise num_ctx");
}

// The conversation without its `num_dropped` oldest messages that may be left out.
std::vector<api::Message> without_oldest(const std::vector<api::Message>& messages,
                                         size_t num_dropped) {
  std::vector<api::Message> kept;
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool may_go = messages[i].role != "system" && i + 1 < messages.size();
    if (may_go && num_dropped > 0) {
      --num_dropped;
    } else {
      kept.push_back(messages[i]);
    }
  }
  return kept;
}

size_t count_droppable(const std::vector<api::Message>& messages) {
  size_t count = 0;
  for (size_t i = 0; i + 1 < messages.size(); ++i) count += messages[i].role != "system";
  return count;
}

// Drops as few messages as needed: by bisection, so that long conversations are not rendered once
// for every message in them.
PreparedPrompt fit_messages(
    const std::vector<api::Message>& messages, int context_limit, bool truncate,
    const std::function<PreparedPrompt(const std::vector<api::Message>&)>& prepare, Work& work) {
  PreparedPrompt whole = prepare(messages);
  const auto room = static_cast<size_t>(context_limit - 1);
  const size_t whole_size = whole.tokens.size();
  if (whole_size <= room) return whole;
  const size_t num_droppable = truncate ? count_droppable(messages) : 0;
  std::optional<PreparedPrompt> best;
  size_t low = 1;
  size_t high = num_droppable;
  while (low <= high) {
    const size_t middle = low + (high - low) / 2;
    std::optional<PreparedPrompt> candidate;
    try {
      candidate = prepare(without_oldest(messages, middle));
    } catch (const Error&) {
      // Some templates refuse a conversation that begins with a reply: try one message less.
      work.check();
    }
    if (candidate && candidate->tokens.size() <= room) {
      best = std::move(candidate);
      high = middle - 1;
    } else {
      low = middle + 1;
    }
  }
  if (!best) throw_too_long(whole_size, context_limit);
  best->num_dropped_tokens = static_cast<int>(whole_size - best->tokens.size());
  return std::move(*best);
}

// Puts the tokens of an earlier reply in front of the prompt.
void prepend_context(const text::Tokenizer& tokenizer, const std::vector<text::TokenId>& context,
                     PreparedPrompt& prompt) {
  for (const text::TokenId id : context) {
    if (id < 0 || static_cast<size_t>(id) >= tokenizer.vocab_size()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "context holds the token id " + std::to_string(id) +
                      ", which this model does not have; send back what it returned");
    }
  }
  if (context.empty()) return;
  const auto bos = tokenizer.bos();
  if (bos && !prompt.tokens.empty() && prompt.tokens.front() == *bos) {
    prompt.tokens.erase(prompt.tokens.begin());
  }
  prompt.tokens.insert(prompt.tokens.begin(), context.begin(), context.end());
}

// Leaves the beginning and the end of a prompt that is too long.
void drop_middle(const text::Tokenizer& tokenizer, const api::GenerationRequest& request,
                 const PromptLimits& limits, PreparedPrompt& prompt) {
  constexpr size_t kLeastRoom = 8;
  const size_t size = prompt.tokens.size();
  const auto room = static_cast<size_t>(limits.context - 1);
  if (size <= room) return;
  if (!request.truncate || !request.shift || room < kLeastRoom) {
    throw_too_long(size, limits.context);
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

}  // namespace

PreparedPrompt prepare_prompt(const LoadedModel& model, const store::ModelRecord& record,
                              const api::GenerationRequest& request, const PromptLimits& limits,
                              Work& work) {
  check_supported(model, record, request);
  const text::Tokenizer& tokenizer = *model.tokenizer;
  PreparedPrompt prompt;
  if (request.is_raw) {
    prompt.text = request.prompt;
    prompt.tokens = encode(tokenizer, request.prompt, work);
    drop_middle(tokenizer, request, limits, prompt);
    return prompt;
  }
  api::ModelPrompt layers;
  layers.system = record.texts.system;
  if (!record.texts.messages_json.empty()) {
    layers.messages = api::parse_messages_layer(record.texts.messages_json);
  }
  const std::vector<api::Message> messages = api::compose_messages(request, layers);
  const auto prepare = [&](const std::vector<api::Message>& kept) {
    PreparedPrompt candidate;
    candidate.text = render(model, record, request, kept, work);
    candidate.tokens = encode(tokenizer, candidate.text, work);
    return candidate;
  };
  if (request.is_chat)
    return fit_messages(messages, limits.context, request.truncate, prepare, work);
  prompt = prepare(messages);
  if (request.context) prepend_context(tokenizer, *request.context, prompt);
  drop_middle(tokenizer, request, limits, prompt);
  return prompt;
}

}  // namespace sluice::server
