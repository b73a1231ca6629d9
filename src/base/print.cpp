#include "base/print.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>

namespace sluice {
namespace {

enum class Newlines { kEscaped, kKept };

// What would move the cursor, end the line, or show text in another order than it has.
bool is_unprintable(int codepoint) {
  return codepoint < 0x20 || (codepoint >= 0x7F && codepoint < 0xA0) ||
         (codepoint >= 0x2028 && codepoint <= 0x202E) ||
         (codepoint >= 0x2066 && codepoint <= 0x2069);
}

std::string escape(const Character& character, char first_byte) {
  switch (character.codepoint) {
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return character.codepoint < 0x80 ? print("\\x%02x", static_cast<unsigned char>(first_byte))
                                        : print("\\u%04x", character.codepoint);
  }
}

std::string make_printable(std::string_view text, Newlines newlines) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Character character = next_character(text);
    const bool is_kept =
        newlines == Newlines::kKept && (text.front() == '\n' || text.front() == '\t');
    const bool is_line_end = newlines == Newlines::kKept && text.starts_with("\r\n");
    if (is_kept || !is_unprintable(character.codepoint)) {
      out += text.substr(0, character.size);
    } else if (!is_line_end) {
      out += escape(character, text.front());
    }
    text.remove_prefix(character.size);
  }
  return out;
}

}  // namespace

std::string print(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  const int size = std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return std::string(text, std::min(static_cast<size_t>(std::max(size, 0)), sizeof text - 1));
}

Character next_character(std::string_view text) {
  utf8proc_int32_t codepoint = -1;
  const utf8proc_ssize_t size =
      utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                       static_cast<utf8proc_ssize_t>(text.size()), &codepoint);
  if (size <= 0) return {};
  return {codepoint, static_cast<size_t>(size), utf8proc_charwidth(codepoint)};
}

std::string printable(std::string_view text) { return make_printable(text, Newlines::kEscaped); }

std::string printable_lines(std::string_view text) { return make_printable(text, Newlines::kKept); }

size_t display_width(std::string_view text) {
  size_t width = 0;
  while (!text.empty()) {
    const Character character = next_character(text);
    width += static_cast<size_t>(character.width);
    text.remove_prefix(character.size);
  }
  return width;
}

std::string cut_to_width(std::string_view text, size_t width) {
  if (display_width(text) <= width) return std::string(text);
  size_t size = 0;
  size_t columns = 1;  // of the mark
  while (size < text.size()) {
    const Character character = next_character(text.substr(size));
    columns += static_cast<size_t>(character.width);
    if (columns > width) break;
    size += character.size;
  }
  return std::string(text.substr(0, size)) + "~";
}

}  // namespace sluice
