#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/work.h"
#include "text/chat_template.h"
#include "text/prompt_text.h"
#include "text/value.h"

namespace sluice::text {

// What a Go template makes a prompt of.
struct GoPrompt {
  // Mappings with role, content, thinking, tool_calls (each {id, function {index, name,
  // arguments}}), tool_name, tool_call_id. Templates name the members as Go does: .ToolCalls.
  Value::List messages;
  Value::List tools;  // as clients write them
  // Text to be filled in between the two; in place of messages when there is a suffix.
  std::string prompt, suffix;
  bool think = false;
  bool is_think_set = false;
  std::string think_level;
};

// A TEMPLATE of Ollama's models: Go's text/template with functions that Ollama adds (json,
// currentDate, yesterdayDate). White space is Go's. What serves no prompt (html, js, urlquery,
// call), and toTypeScriptType, is refused by name. Where Go prints a nested list or
// mapping in its own notation, here stands JSON; whole numbers stay whole.
// Immutable and safe to share between threads.
class GoTemplate {
 public:
  // Throws Error(kInvalidArgument) with the line for text that does not parse.
  explicit GoTemplate(std::string_view source);
  ~GoTemplate();
  GoTemplate(GoTemplate&&) noexcept;
  GoTemplate& operator=(GoTemplate&&) noexcept;

  // By Ollama's rules. Neighbours of one role (but not tools) become one message, with a blank
  // line between. A template that reads .Messages runs once. An older one (.System, .Prompt,
  // .Response) runs for each turn, and for the last one ends at its .Response; when it has none,
  // .Response stands at its end. The result knows which of its bytes are the template's own.
  // Throws Error(kInvalidArgument) with the line: an error of the template, or a limit that was
  // passed; and what `work` throws, to which all of it is charged.
  PromptText render(const GoPrompt& prompt, const RenderLimits& limits, Work& work) const;
  PromptText render(const GoPrompt& prompt, const RenderLimits& limits = {}) const {
    Work work;
    return render(prompt, limits, work);
  }

  // Whether it reads a field of this name anywhere ("Tools", "Suffix"), whatever its case.
  bool reads(std::string_view field) const;
  const std::string& source() const;

  struct Program;

 private:
  std::unique_ptr<const Program> program_;
};

}  // namespace sluice::text
