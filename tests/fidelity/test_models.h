#pragma once

#include <cstdlib>
#include <fstream>
#include <string>

namespace sluice {

// Where a real model's file is: in the folder that SLUICE_TEST_MODELS names. "" when it is not
// there.
inline std::string find_test_model(const std::string& name) {
  const char* folder = std::getenv("SLUICE_TEST_MODELS");
  const std::string path = std::string(folder ? folder : "") + "/" + name;
  return std::ifstream(path) ? path : "";
}

inline std::string missing_model_text(const std::string& name) {
  return "set SLUICE_TEST_MODELS to a folder that holds " + name;
}

}  // namespace sluice
