#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice {

// printf into a string; cut after 511 bytes, which is for lines of tables.
[[gnu::format(printf, 1, 2)]] std::string print(const char* format, ...);

// Text from outside (a file, a server, a model) on one line and made safe for a terminal: control
// characters (C0, DEL, C1), line separators, overrides of the writing direction and bytes that are
// no UTF-8 are written as escapes: \n, \x1b, \u202e, \xff. What is printable stays as it is, a
// backslash too.
std::string printable(std::string_view text);
// The same for text of several lines: newlines and tabs stay, a carriage return before a newline
// goes.
std::string printable_lines(std::string_view text);

// Columns of a terminal that `text` takes: two for a wide character (Chinese, most emoji), none for
// a combining one or for a byte that is no UTF-8.
size_t display_width(std::string_view text);
// Cuts to at most `width` columns; the last one is then '~'.
std::string cut_to_width(std::string_view text, size_t width);

// The next character of `text`, which must not be empty. `codepoint` is -1 for a byte that is no
// UTF-8; it then stands alone.
struct Character {
  int codepoint = -1;
  size_t size = 1;  // bytes
  int width = 0;    // columns
};
Character next_character(std::string_view text);

}  // namespace sluice
