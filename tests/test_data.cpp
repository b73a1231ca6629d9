#include "test_data.h"

namespace sluice {

std::string test_data(std::string_view path) { return SLUICE_TEST_DATA "/" + std::string(path); }

}  // namespace sluice
