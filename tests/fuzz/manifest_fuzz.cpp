// Manifests and configs: parsed or refused with Error; what was accepted reads back as the same.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "store/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::store;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const std::string encoded = encode_manifest(parse_manifest(text));
    if (encode_manifest(parse_manifest(encoded)) != encoded) __builtin_trap();
  } catch (const sluice::Error&) {
  }
  try {
    const std::string encoded = encode_config(parse_config(text));
    if (encode_config(parse_config(encoded)) != encoded) __builtin_trap();
  } catch (const sluice::Error&) {
  }
  return 0;
}
