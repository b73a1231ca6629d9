#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "text/unicode.h"

// Python's view of text: characters, their classes and their case, over UTF-8 in which a byte that
// is not valid counts as a character of its own.
namespace sluice::text::jinja {

size_t count_code_points(std::string_view text);
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

// str.upper, lower, capitalize and title, and jinja2's own title.
std::string upper_text(std::string_view text);
std::string lower_text(std::string_view text);
std::string capitalize_text(std::string_view text);
std::string title_text(std::string_view text);
std::string title_words(std::string_view text);

// Without leading (or trailing) characters of `set`; white space when `set` is null.
std::string_view strip_left(std::string_view text, const std::u32string* set = nullptr);
std::string_view strip_right(std::string_view text, const std::u32string* set = nullptr);

}  // namespace sluice::text::jinja
