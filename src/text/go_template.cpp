#include "text/go_template.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/gotmpl/interpreter.h"
#include "text/gotmpl/parser.h"

namespace sluice::text {

struct GoTemplate::Program {
  std::string source;
  gotmpl::Template parsed;
};

namespace {

constexpr size_t kMaxGoSourceBytes = 1u << 20;

[[noreturn]] void fail_in_go(const gotmpl::TemplateError& error) {
  std::string message = error.what();
  std::replace(message.begin(), message.end(), '\n', ' ');
  throw Error(ErrorCode::kInvalidArgument,
              "template, line " + std::to_string(error.line) + ": " + message);
}

std::string text_member(const Value& message, std::string_view name) {
  const Value* found = message.find(name);
  const std::string* text = found != nullptr ? found->as_string() : nullptr;
  return text != nullptr ? *text : "";
}

struct Collated {
  std::string system;  // of all system messages
  Value::List messages;
};

Collated collate(const Value::List& messages, Work& work) {
  Collated result;
  std::string role;
  std::string content;  // of several messages, which the last of the result stands for
  const auto close_last = [&] {
    if (content.empty()) return;
    Value::Dict merged = *result.messages.back().as_dict();
    for (auto& [name, value] : merged) {
      if (name == "content") value = content;
    }
    result.messages.back() = std::move(merged);
    content.clear();
  };
  bool is_first_system = true;
  for (const Value& message : messages) {
    const std::string own_role = text_member(message, "role");
    const std::string own = text_member(message, "content");
    work.charge(64 + own.size());
    if (own_role == "system") {
      if (!std::exchange(is_first_system, false)) result.system += "\n\n";
      result.system += own;
    }
    if (!result.messages.empty() && own_role == role && role != "tool") {
      if (content.empty()) content = text_member(result.messages.back(), "content");
      content += "\n\n" + own;
      continue;
    }
    close_last();
    role = own_role;
    result.messages.push_back(message);
  }
  close_last();
  return result;
}

}  // namespace

GoTemplate::GoTemplate(std::string_view source) {
  if (source.size() > kMaxGoSourceBytes) {
    throw Error(ErrorCode::kInvalidArgument, "template is longer than 1 MB");
  }
  auto program = std::make_unique<Program>();
  program->source = source;
  try {
    program->parsed = gotmpl::parse(source);
    const auto& fields = program->parsed.fields;
    if (!fields.contains("messages") && !fields.contains("response")) {
      program->parsed = gotmpl::parse(program->source + "{{ .Response }}");
    }
  } catch (const gotmpl::TemplateError& error) {
    fail_in_go(error);
  }
  program_ = std::move(program);
}

GoTemplate::~GoTemplate() = default;
GoTemplate::GoTemplate(GoTemplate&&) noexcept = default;
GoTemplate& GoTemplate::operator=(GoTemplate&&) noexcept = default;

PromptText GoTemplate::render(const GoPrompt& prompt, const RenderLimits& limits,
                              Work& work) const {
  gotmpl::Interpreter interpreter(program_->parsed, limits, work);
  const auto run = [&](Value::Dict data, bool ends_at_response) {
    data.emplace_back("Think", prompt.think);
    data.emplace_back("ThinkLevel", prompt.think_level);
    data.emplace_back("IsThinkSet", prompt.is_think_set);
    interpreter.run(std::move(data), ends_at_response);
  };
  try {
    if (!prompt.suffix.empty()) {
      run({{"Prompt", prompt.prompt}, {"Suffix", prompt.suffix}, {"Response", ""}}, false);
      return interpreter.take();
    }
    const Collated collated = collate(prompt.messages, work);
    if (reads("Messages")) {
      run({{"System", collated.system},
           {"Messages", collated.messages},
           {"Tools", prompt.tools},
           {"Response", ""}},
          false);
      return interpreter.take();
    }
    std::string system, user, response;
    const auto turn = [&](bool is_last) {
      run({{"System", std::exchange(system, "")},
           {"Prompt", std::exchange(user, "")},
           {"Response", std::exchange(response, "")}},
          is_last);
    };
    for (const Value& message : collated.messages) {
      const std::string role = text_member(message, "role");
      if (role == "system" && (!user.empty() || !response.empty())) turn(false);
      if (role == "user" && !response.empty()) turn(false);
      std::string* part = role == "system"      ? &system
                          : role == "user"      ? &user
                          : role == "assistant" ? &response
                                                : nullptr;
      if (part != nullptr) *part = text_member(message, "content");
    }
    turn(true);
    return interpreter.take();
  } catch (const gotmpl::TemplateError& error) {
    fail_in_go(error);
  }
}

bool GoTemplate::reads(std::string_view field) const {
  std::string lower(field);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return program_->parsed.fields.contains(lower);
}

const std::string& GoTemplate::source() const { return program_->source; }

}  // namespace sluice::text
