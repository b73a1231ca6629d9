#include "gguf/cursor.h"

#include <algorithm>

#include "base/error.h"

namespace sluice::gguf {
namespace {

constexpr size_t kChunkBytes = size_t{256} << 10;
// Ten times the largest vocabulary there is.
constexpr uint64_t kMaxHeadBytes = uint64_t{128} << 20;

uint64_t end_of(const ByteRange& bytes) {
  const bool is_file = bytes.memory().empty();
  return is_file ? std::min(bytes.size(), kMaxHeadBytes) : bytes.size();
}

}  // namespace

Cursor::Cursor(const ByteRange& bytes)
    : bytes_(bytes), end_(end_of(bytes)), ahead_(bytes.memory()) {}

std::span<const std::byte> Cursor::take(uint64_t num_bytes, std::string_view what) {
  if (num_bytes > remaining()) {
    throw Error(ErrorCode::kCorruptData,
                "byte " + std::to_string(position_) + ": " + std::string(what) + " needs " +
                    std::to_string(num_bytes) + " bytes but only " + std::to_string(remaining()) +
                    " are left: the file is damaged or cut short; fetch it again");
  }
  const auto size = static_cast<size_t>(num_bytes);
  if (size > ahead_.size()) fill(size);
  const std::span<const std::byte> taken = ahead_.first(size);
  ahead_ = ahead_.subspan(size);
  position_ += num_bytes;
  return taken;
}

// Makes at least `num_bytes`, which the file has, lie ahead.
void Cursor::fill(size_t num_bytes) {
  const auto size =
      static_cast<size_t>(std::min<uint64_t>(std::max(num_bytes, kChunkBytes), remaining()));
  auto chunk = std::make_unique_for_overwrite<std::byte[]>(size);
  const size_t kept = ahead_.size();
  std::copy(ahead_.begin(), ahead_.end(), chunk.get());
  bytes_.read(position_ + kept, {chunk.get() + kept, size - kept});
  ahead_ = {chunk.get(), size};
  chunks_.push_back(std::move(chunk));
}

}  // namespace sluice::gguf
