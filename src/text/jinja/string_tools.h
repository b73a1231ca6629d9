#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/object.h"

// Text operations that methods and filters share.
namespace sluice::text::jinja {

// The string without leading and trailing `chars` (missing or none: white space).
Val strip_value(Heap& heap, const Val& value, const Val& chars, bool left, bool right);
// str.replace; a negative count replaces all.
std::string replace_text(Heap& heap, const std::string& text, const std::string& old,
                         const std::string& fresh, int64_t count);
// How many of the `missing` characters str.center puts in front.
int64_t center_padding(int64_t missing, int64_t width);
// str.splitlines.
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

}  // namespace sluice::text::jinja
