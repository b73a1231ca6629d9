#pragma once

#include <string>
#include <string_view>

namespace sluice {

// A file of the tests: its path within tests/, made whole. Known to one file alone, so that the
// others compile alike in every tree.
std::string test_data(std::string_view path);

}  // namespace sluice
