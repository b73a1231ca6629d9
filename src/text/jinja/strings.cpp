#include "text/jinja/strings.h"

#include <cstring>

#include "text/jinja/ops.h"
#include "text/jinja/unicode.h"

namespace sluice::text::jinja {

size_t find_text(std::string_view text, std::string_view needle, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  // string_view::find takes up to as many steps a character as the needle is long: too many for
  // long crafted ones, where memmem stays linear.
  constexpr size_t kShortNeedle = 32;
  if (needle.size() <= kShortNeedle) return text.find(needle, from);
  const void* found = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

Val strip(Heap& heap, const Val& value, const Val& chars, bool left, bool right) {
  std::u32string set;
  const bool has_set = !chars.is_missing() && !chars.is_none();
  if (has_set) {
    if (!chars.is_string()) throw_type_error("use as characters to strip", chars);
    for (size_t at = 0; at < chars.text().size();) set += next_code_point(chars.text(), at);
    heap.charge((value.text().size() / 16) * (set.size() / 16));
  }
  const std::string_view whole = value.text();
  std::string_view text = whole;
  if (left) text = strip_left(text, has_set ? &set : nullptr);
  const auto begin = static_cast<size_t>(text.data() - whole.data());
  if (right) text = strip_right(text, has_set ? &set : nullptr);
  if (text.size() == whole.size()) return value;
  return make_string(heap, value.prompt_text().substr(begin, text.size()));
}

Val replace(Heap& heap, const Val& value, std::string_view old, const PromptText& fresh,
            int64_t count) {
  const PromptText& text = value.prompt_text();
  const auto limit = count < 0 ? SIZE_MAX : static_cast<size_t>(count);
  const PromptText put = text.is_untrusted() ? PromptText(fresh.text(), false) : fresh;
  PromptText out;
  size_t position = 0;
  for (size_t done = 0; done < limit; ++done) {
    size_t found = find_text(text.text(), old, position);
    if (found == std::string::npos) break;
    if (old.empty() && done > 0) {
      // Between characters: the next one goes first.
      if (position >= text.size()) break;
      found = position;
      next_code_point(text.text(), found);
    }
    out.append(text, position, found - position);
    out.append(put);
    position = found + old.size();
    heap.charge_bytes(64 + put.size());
    heap.check_bytes(2 * (out.size() + out.extra_bytes()));
  }
  if (position == 0 && out.empty()) return value;
  out.append(text, position, std::string::npos);
  return make_string(heap, std::move(out));
}

namespace {
bool ends_line(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}
}  // namespace

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t position = 0; position < text.size();) {
    const size_t end = position;
    const char32_t c = next_code_point(text, position);
    if (!ends_line(c)) continue;
    if (c == '\r' && position < text.size() && text[position] == '\n') ++position;
    lines.push_back(text.substr(start, (keep_ends ? position : end) - start));
    start = position;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

Val join(Heap& heap, const Vals& parts, const PromptText& separator) {
  PromptText text;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) text.append(separator);
    const Val part = to_string(heap, parts[i]);
    heap.charge_bytes(part.text().size() + separator.size());
    heap.check_bytes(2 * (text.size() + text.extra_bytes()) + part.text().size());
    text.append(part.prompt_text());
  }
  return make_string(heap, std::move(text));
}

Val transformed(Heap& heap, const Val& value, std::string (*transform)(std::string_view)) {
  const PromptText& text = value.prompt_text();
  heap.charge_bytes(8 * text.size());
  heap.check_bytes(8 * text.size());
  return make_string(heap, transform(text.text()), text.is_trusted());
}

}  // namespace sluice::text::jinja
