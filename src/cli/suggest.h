#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::cli {

// The candidates that `typed` may have been meant to be, nearest first, three at most: at most a
// third of its letters wrong (Levenshtein), or its beginning.
std::vector<std::string> near_names(std::string_view typed, std::vector<std::string> candidates);

// ". Did you mean 'a' or 'b'?", or "" when nothing is near.
std::string did_you_mean(std::string_view typed, std::vector<std::string> candidates);

// The same of the well-known shapes (measure/shapes.h).
std::string near_shapes(std::string_view typed);

}  // namespace sluice::cli
