#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice::api {

// JSON text in which invalid UTF-8 and \u escapes of lone surrogates are replaced by U+FFFD, one
// for each bad byte, as Go's decoder does. Nothing when the text is fine as it is.
std::optional<std::string> repair_unicode(std::string_view text);

// Length of the valid UTF-8 character at the front of `text`; 0 when there is none.
size_t utf8_length(std::string_view text);

}  // namespace sluice::api
