#include "base/byte_range.h"

#include <algorithm>

namespace sluice {

ByteRange ByteRange::part(uint64_t offset, uint64_t size) const {
  ByteRange result = *this;
  if (!file_) result.memory_ = memory_.subspan(offset, size);
  result.offset_ += offset;
  result.size_ = size;
  return result;
}

void ByteRange::read(uint64_t offset, std::span<std::byte> out) const {
  if (file_) {
    file_->read(offset_ + offset, out);
  } else {
    std::copy_n(memory_.begin() + static_cast<ptrdiff_t>(offset), out.size(), out.begin());
  }
}

std::vector<std::byte> ByteRange::read() const {
  std::vector<std::byte> bytes(size_);
  read(0, bytes);
  return bytes;
}

}  // namespace sluice
