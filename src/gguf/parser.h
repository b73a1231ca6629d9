#pragma once

#include <string>
#include <vector>

#include "gguf/cursor.h"
#include "gguf/file.h"

namespace sluice::gguf {

// Reads and checks a whole file, front to back. Messages start with the byte they are about.
class Parser {
 public:
  explicit Parser(const ByteRange& bytes) : cursor_(bytes), bytes_(bytes) {}

  File parse();

 private:
  struct Header {
    uint64_t num_tensors = 0;
    uint64_t num_entries = 0;
  };

  Header read_header();
  void read_entry(uint64_t index);
  Value read_value(ValueType type, const std::string& place);
  Array read_array(const std::string& place);
  void read_tensor(uint64_t index);
  std::vector<int64_t> read_shape(const std::string& place);
  uint64_t alignment() const;
  void place_tensors();
  void check_no_overlap(const std::vector<uint64_t>& offsets) const;
  [[noreturn]] void fail(const std::string& reason) const;

  Cursor cursor_;
  const ByteRange bytes_;
  File file_;
  std::vector<uint64_t> tensor_offsets_;  // into the data section, one a tensor
};

}  // namespace sluice::gguf
