#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace sluice::backend::cpu {

// Zeroed memory from the system on huge pages where they are to be had: matrices and the cache are
// read from end to end, and small pages cost a tenth of the bandwidth. Pages come with first use.
class HugeBuffer {
 public:
  HugeBuffer() = default;
  // Throws Error(kOutOfMemory) naming `purpose`, what was needed and what was free.
  HugeBuffer(size_t size_bytes, const std::string& purpose);
  ~HugeBuffer();
  HugeBuffer(HugeBuffer&& other) noexcept;
  HugeBuffer& operator=(HugeBuffer&& other) noexcept;

  // What size() of a buffer of so many bytes is.
  static size_t whole_pages(size_t size_bytes);

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace sluice::backend::cpu
