#pragma once

#include <optional>
#include <string_view>

namespace sluice::grammar {

// A regular expression for the values of JSON Schema's "format" that can be honoured: all of what
// it matches is of the format, not the other way around. Nothing for those that cannot.
std::optional<std::string_view> format_pattern(std::string_view format);

}  // namespace sluice::grammar
