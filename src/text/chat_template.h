#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/work.h"
#include "text/prompt_text.h"
#include "text/value.h"

namespace sluice::text {

// Limits of one rendering: a template comes from a model file and is hostile until it has run.
struct RenderLimits {
  uint64_t max_steps = 20'000'000;
  size_t max_output_bytes = 64u << 20;
  size_t max_memory_bytes = 256u << 20;  // values alive at one time, the context included
  int max_depth = 200;                   // nesting of values and, times ten, of evaluations
  std::optional<std::tm> now;            // what strftime_now sees; else the current local time
};

// A chat template in Jinja, as `transformers` renders it: jinja2's sandbox with trim_blocks and
// lstrip_blocks, loop controls, the {% generation %} tag, and the functions raise_exception,
// strftime_now, namespace, range and dict. What needs other templates, makes HTML (but for escape)
// or serves no prompt is refused by name. Immutable and safe to share between threads.
class ChatTemplate {
 public:
  // Throws Error(kInvalidArgument) with the line for text that does not parse.
  explicit ChatTemplate(std::string_view source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // `context` is a mapping with messages, tools, add_generation_prompt, bos_token, eos_token and
  // whatever else the template may read. The result knows which of its bytes are the template's own
  // (or of trusted values). Throws Error(kInvalidArgument) with the line: an error of
  // the template, its own raise_exception text, or a limit that was passed; and what `work` throws,
  // to which the bytes that are touched are charged.
  PromptText render(const Value& context, const RenderLimits& limits, Work& work) const;
  PromptText render(const Value& context, const RenderLimits& limits = {}) const {
    Work work;
    return render(context, limits, work);
  }

  const std::string& source() const;

  struct Program;

 private:
  std::unique_ptr<const Program> program_;
};

}  // namespace sluice::text
