#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "store/modelfile.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::store;
  try {
    const Modelfile file = parse_modelfile({reinterpret_cast<const char*>(data), size});
    parameters_json(file.parameters);
  } catch (const sluice::Error&) {
  }
  return 0;
}
