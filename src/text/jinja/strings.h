#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/jinja/object.h"

// Text operations that methods and filters share. They keep the origin of every byte, except where
// it is said.
namespace sluice::text::jinja {

// Position of `needle` at or behind `from`, or npos; linear time.
size_t find_text(std::string_view text, std::string_view needle, size_t from = 0);

// Without leading and trailing `chars` (missing or none: white space).
Val strip(Heap& heap, const Val& text, const Val& chars, bool left, bool right);
// str.replace; a negative count replaces all. What is put into text from outside counts as outside.
Val replace(Heap& heap, const Val& text, std::string_view old, const PromptText& fresh,
            int64_t count);
// str.splitlines.
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);
// The parts joined, str() of each.
Val join(Heap& heap, const Vals& parts, const PromptText& separator);
// `transform` of the whole; its own origin only when all of it has it.
Val transformed(Heap& heap, const Val& text, std::string (*transform)(std::string_view));

}  // namespace sluice::text::jinja
