#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "text/chat_template.h"

namespace {

using sluice::text::Value;

// Stands in the context's text and nowhere else.
constexpr std::string_view kMark = "\xEE\x80\x81";  // U+E001

Value make_context() {
  Value tool = Value::Dict{{"name", "f"},
                           {"parameters", Value::Dict{{"type", "object"}, {"n", 1}, {"x", 1.5}}}};
  Value::List messages = {
      Value::Dict{{"role", "system"}, {"content", "Be kind. "}},
      Value::Dict{{"role", "user"},
                  {"content", std::string(kMark) + "Gr\xC3\xBC\xC3\x9F \xF0\x9F\x9A\x80 <b>\xFF"}},
      Value::Dict{{"role", "assistant"}, {"content", Value()}, {"tool_calls", Value::List{tool}}},
      Value::Dict{{"role", "tool"},
                  {"content", Value::List{Value::Dict{{"type", "text"}, {"text", "a\nb"}}}}}};
  return Value::Dict{{"messages", messages},
                     {"tools", Value::List{tool}},
                     {"add_generation_prompt", true},
                     {"bos_token", Value::trusted("<s>")},
                     {"n", 7},
                     {"big", int64_t{9223372036854775807}},
                     {"f", 2.5},
                     {"s", "Hello, " + std::string(kMark) + " World"},
                     {"l", Value::List{3, 1, 2}},
                     {"d", Value::Dict{{"a", 1}, {"b", Value::List{2, "x"}}}}};
}

// What the context says never counts as the template's own text.
void check_origin(std::string_view source, const sluice::text::PromptText& prompt) {
  const bool may_spell_mark = source.find(kMark) != source.npos || source.find('\\') != source.npos;
  if (may_spell_mark) return;
  const std::string& text = prompt.text();
  for (size_t at = 0; (at = text.find(kMark, at)) != text.npos; at += kMark.size()) {
    for (size_t i = at; i < at + kMark.size(); ++i) {
      if (prompt.trusted_end(i) != i) std::abort();
    }
  }
}

}  // namespace

// Any text as a template over a rich context: an error or an output within the limits.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Value context = make_context();
  sluice::text::RenderLimits limits;
  limits.max_steps = 50'000;
  limits.max_output_bytes = 1u << 20;
  limits.max_memory_bytes = 8u << 20;
  try {
    std::string_view source(reinterpret_cast<const char*>(data), size);
    check_origin(source, sluice::text::ChatTemplate(source).render(context, limits));
  } catch (const sluice::Error&) {
  }
  return 0;
}
