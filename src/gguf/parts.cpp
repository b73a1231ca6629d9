#include "gguf/parts.h"

#include <algorithm>

#include "base/error.h"

namespace sluice::gguf {

int num_parts(const File& file) {
  constexpr uint64_t kMostParts = 65'535;
  const uint64_t count = file.get_uint(kPartCount).value_or(1);
  if (count > kMostParts) {
    throw Error(ErrorCode::kCorruptData,
                "the file says that it is a part of " + std::to_string(count));
  }
  return std::max(1, static_cast<int>(count));
}

void require_whole(const File& file) {
  const int count = num_parts(file);
  if (count == 1) return;
  throw Error(
      ErrorCode::kInvalidArgument,
      "the file is one of the " + std::to_string(count) +
          " parts of a model; join them with sluice create, FROM the folder with all parts");
}

}  // namespace sluice::gguf
