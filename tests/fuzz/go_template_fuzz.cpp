#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "text/go_template.h"

namespace {

using sluice::text::Value;

// Stands in the messages and nowhere else.
constexpr std::string_view kSecretMark = "\xEE\x80\x81";  // U+E001

sluice::text::GoPrompt make_prompt() {
  const std::string mark(kSecretMark);
  Value call = Value::Dict{
      {"function",
       Value::Dict{{"name", "f" + mark},
                   {"arguments", Value::Dict{{"a", 1.5}, {mark, Value::List{1, mark}}}}}}};
  sluice::text::GoPrompt prompt;
  prompt.messages = {
      Value::Dict{{"role", Value::trusted("system")}, {"content", mark + "kind \xFF"}},
      Value::Dict{{"role", Value::trusted("user")}, {"content", "Hi " + mark}},
      Value::Dict{{"role", Value::trusted("assistant")},
                  {"content", ""},
                  {"tool_calls", Value::List{call}}},
      Value::Dict{{"role", Value::trusted("tool")}, {"content", mark}}};
  prompt.tools = {Value::Dict{{"type", "function"}, {"function", Value::Dict{{"name", mark}}}}};
  return prompt;
}

}  // namespace

// Any text as a template: an error or an output within the limits, in which what messages say never
// counts as the template's own text.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const sluice::text::GoPrompt prompt = make_prompt();
  sluice::text::RenderLimits limits;
  limits.max_steps = 50'000;
  limits.max_output_bytes = 1u << 20;
  limits.max_memory_bytes = 8u << 20;
  try {
    const std::string_view source(reinterpret_cast<const char*>(data), size);
    sluice::Work work;
    const auto made = sluice::text::GoTemplate(source).render(prompt, limits, work);
    const bool may_spell = source.find(kSecretMark) != source.npos ||
                           source.find('\\') != source.npos || source.find('\xEE') != source.npos;
    const std::string& text = made.text();
    for (size_t at = 0; !may_spell && (at = text.find(kSecretMark, at)) != text.npos; ++at) {
      if (made.trusted_end(at) != at) std::abort();
    }
  } catch (const sluice::Error&) {
  }
  return 0;
}
