// Names and digests: what is accepted is safe in a path and reads back as the same.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "store/model_name.h"
#include "store/sha256.h"

namespace {

void require(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::store;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto name = ModelName::try_parse(text)) {
    const std::string path = "/" + name->relative_path() + "/";
    require(path.find("/.") == std::string::npos);
    require(path.find("//") == std::string::npos);
    require(path.find('\0') == std::string::npos);
    const ModelName again = ModelName::parse(name->short_name());
    require(again.is_same_model(*name));
    require(ModelName::parse(name->full_name()).is_same_model(*name));
  }
  if (const auto digest = Digest::parse(text)) {
    require(digest->hex().find_first_not_of("0123456789abcdef") == std::string::npos);
    require(Digest::parse(digest->text()) == *digest);
    require(Digest::parse(digest->file_name()) == *digest);
  }
  return 0;
}
