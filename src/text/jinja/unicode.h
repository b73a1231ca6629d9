#pragma once

#include <cstddef>
#include <string>
#include <string_view>

// Python's view of text (code points, str's character classes and case mappings) over UTF-8.
namespace sluice::text::jinja {

// A byte that is no valid UTF-8 counts as one character of its own, this value plus the byte, and
// is written back unchanged.
constexpr char32_t kInvalidByte = 0x110000;

// The character at `position` (< text.size()); moves `position` behind it. Surrogates written in
// three bytes are read as such.
char32_t next_code_point(std::string_view text, size_t& position);
void append_utf8(std::string& text, char32_t code_point);
size_t count_code_points(std::string_view text);
std::u32string to_code_points(std::string_view text);
std::string to_utf8(std::u32string_view code_points);
// Byte position of the character number `index`, at most text.size().
size_t byte_offset(std::string_view text, size_t index);

// str.isspace and its like for one character. Case goes by general category.
bool is_space(char32_t c);
bool is_alphabetic(char32_t c);
bool is_alphanumeric(char32_t c);
bool is_numeric(char32_t c);
bool is_decimal(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);
bool is_printable(char32_t c);
// Whether some character is `right`, and none is `wrong` or a titlecase letter.
bool is_in_case(std::string_view text, bool (*right)(char32_t), bool (*wrong)(char32_t));

// str.upper, lower, capitalize and title.
std::string upper_text(std::string_view text);
std::string lower_text(std::string_view text);
std::string capitalize_text(std::string_view text);
std::string title_text(std::string_view text);

// Without leading (and trailing) characters of `set`; white space when `set` is null.
std::string_view strip_left(std::string_view text, const std::u32string* set);
std::string_view strip_right(std::string_view text, const std::u32string* set);

}  // namespace sluice::text::jinja
