#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace sluice::gguf {

static_assert(std::endian::native == std::endian::little, "GGUF is read as little-endian");

// Reads little-endian values from bytes, never beyond their end. `what` names the thing being read
// in messages. Throws Error(kCorruptData) where the bytes end too early.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  template <typename T>
  T read(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  // A 64-bit length and that many bytes.
  std::string_view read_string(std::string_view what) {
    const auto length = read<uint64_t>(what);
    const std::span<const std::byte> taken = take(length, what);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

  std::span<const std::byte> take(uint64_t num_bytes, std::string_view what) {
    if (num_bytes > remaining()) {
      throw Error(ErrorCode::kCorruptData,
                  "byte " + std::to_string(position_) + ": " + std::string(what) + " needs " +
                      std::to_string(num_bytes) + " bytes but only " + std::to_string(remaining()) +
                      " are left: the file is damaged or cut short; fetch it again");
    }
    const std::span<const std::byte> taken =
        bytes_.subspan(static_cast<size_t>(position_), static_cast<size_t>(num_bytes));
    position_ += num_bytes;
    return taken;
  }

 private:
  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;
};

}  // namespace sluice::gguf
