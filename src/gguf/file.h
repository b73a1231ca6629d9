#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/byte_range.h"
#include "base/input_file.h"
#include "quant/types.h"

namespace sluice::gguf {

// Types of metadata values, with the format's numbers.
enum class ValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// An array of scalars stays as it is in the file and is decoded on demand. Arrays of arrays are
// refused.
struct Array {
  ValueType element_type = ValueType::kUint8;
  uint64_t count = 0;
  std::span<const std::byte> data;        // scalars, little-endian; empty for strings
  std::vector<std::string_view> strings;  // only for kString
};

// Every scalar fits one of these: unsigned and signed integers widen to 64 bits, floats to double.
using Value = std::variant<uint64_t, int64_t, double, bool, std::string_view, Array>;

struct Tensor {
  std::string_view name;
  quant::Type type = quant::Type::kF32;
  std::vector<int64_t> shape;  // 1 to 4 dimensions, fastest first: [columns, rows, ...]
  ByteRange data;

  int64_t num_elements() const;
  int64_t columns() const { return shape[0]; }  // length of one row
  int64_t rows() const { return num_elements() / columns(); }
};

// A GGUF file (versions 2 and 3, little-endian), checked whole before use: every count, offset,
// alignment, string, type and shape. Its head (metadata and the list of tensors) is in memory; what
// the tensors hold is read on demand. Views into it and the tensors' data live as long as it does.
// Source: the GGUF specification.
class File {
 public:
  // Throws Error: kNotFound, kInvalidArgument (a directory, a pipe), kCorruptData with the place
  // and the reason, kUnsupported naming the tensor type or version.
  static File open(const std::string& path);
  // Reads bytes that the caller keeps alive.
  static File parse(std::span<const std::byte> bytes);

  // Throws Error(kCorruptData) when the file has been written to since it was opened.
  void check_unchanged() const;
  // Closes the file: the tensors' data is gone, the rest stays.
  void close();

  uint32_t version() const { return version_; }
  const std::vector<std::pair<std::string_view, Value>>& metadata() const { return metadata_; }
  const std::vector<Tensor>& tensors() const { return tensors_; }
  uint64_t size_bytes() const { return size_bytes_; }
  uint64_t head_bytes() const { return head_bytes_; }  // metadata and the list of tensors

  const Value* find(std::string_view key) const;           // null when absent
  const Tensor* find_tensor(std::string_view name) const;  // null when absent

  // Typed look-ups: nothing when the key is absent; Error(kCorruptData) naming the key when it has
  // another type or a value out of the type's range. Any integer type is accepted as an integer,
  // integers are accepted as floats, and the bools of an array as 0 and 1.
  std::optional<uint64_t> get_uint(std::string_view key) const;
  std::optional<int64_t> get_int(std::string_view key) const;
  std::optional<double> get_float(std::string_view key) const;
  std::optional<bool> get_bool(std::string_view key) const;
  std::optional<std::string_view> get_string(std::string_view key) const;
  const std::vector<std::string_view>* get_strings(std::string_view key) const;  // null when absent
  std::optional<std::vector<int64_t>> get_ints(std::string_view key) const;
  std::optional<std::vector<float>> get_floats(std::string_view key) const;

 private:
  friend class Parser;
  std::unique_ptr<InputFile> input_;                // null for parse()
  std::vector<std::unique_ptr<std::byte[]>> head_;  // what has been read of it
  uint32_t version_ = 0;
  uint64_t size_bytes_ = 0;
  uint64_t head_bytes_ = 0;
  std::vector<std::pair<std::string_view, Value>> metadata_;
  std::vector<Tensor> tensors_;
  std::map<std::string_view, size_t> metadata_index_;
  std::map<std::string_view, size_t> tensor_index_;
};

}  // namespace sluice::gguf
