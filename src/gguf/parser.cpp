#include "gguf/parser.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "gguf/quote.h"

namespace sluice::gguf {
namespace {

// Far above any real model; they bound what a hostile file can make us allocate.
constexpr uint64_t kMaxEntries = 1 << 16;
constexpr uint64_t kMaxTensors = 1 << 18;
constexpr uint64_t kMaxNameBytes = 65535;

// The fewest bytes that one of each can take in the file.
constexpr uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMinAlignment = 8;
constexpr uint64_t kMaxAlignment = 1 << 20;

// 0 for types without a fixed size.
uint64_t scalar_bytes(ValueType type) {
  switch (type) {
    case ValueType::kUint8:
    case ValueType::kInt8:
    case ValueType::kBool:
      return 1;
    case ValueType::kUint16:
    case ValueType::kInt16:
      return 2;
    case ValueType::kUint32:
    case ValueType::kInt32:
    case ValueType::kFloat32:
      return 4;
    case ValueType::kUint64:
    case ValueType::kInt64:
    case ValueType::kFloat64:
      return 8;
    case ValueType::kString:
    case ValueType::kArray:
      return 0;
  }
  return 0;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

// The type of a tensor; names those that we cannot decode.
const quant::TypeInfo& known_type(uint32_t raw_type, const std::string& place) {
  if (const quant::TypeInfo* info = quant::find_type(raw_type)) return *info;
  const std::string_view name = quant::type_name_or_empty(raw_type);
  const std::string shown =
      name.empty() ? "unknown type " + std::to_string(raw_type) : "type " + std::string(name);
  throw Error(ErrorCode::kUnsupported,
              place + " has " + shown +
                  ", which is not supported; use a file in F16, Q8_0, Q6_K, Q5_K, Q4_K, Q4_0 or "
                  "another common type");
}

}  // namespace

void Parser::fail(const std::string& reason) const {
  throw Error(ErrorCode::kCorruptData,
              "byte " + std::to_string(cursor_.position()) + ": " + reason);
}

File Parser::parse() {
  file_.size_bytes_ = bytes_.size();
  const Header header = read_header();
  for (uint64_t i = 0; i < header.num_entries; ++i) read_entry(i);
  for (uint64_t i = 0; i < header.num_tensors; ++i) read_tensor(i);
  place_tensors();
  file_.head_ = cursor_.take_chunks();
  return std::move(file_);
}

Parser::Header Parser::read_header() {
  const std::span<const std::byte> magic = cursor_.take(4, "the file's magic");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) {
    fail("this is not a GGUF file: it begins with " +
         quote({reinterpret_cast<const char*>(magic.data()), 4}));
  }
  const auto version = cursor_.read<uint32_t>("the version");
  if (version != 0 && (version & 0xffffu) == 0) {
    throw Error(ErrorCode::kUnsupported,
                "this GGUF file is big-endian; convert it to little-endian");
  }
  if (version == 1 || version > 3) {
    throw Error(ErrorCode::kUnsupported, "GGUF version " + std::to_string(version) +
                                             " is not supported; convert the file to version 3");
  }
  if (version == 0) fail("GGUF version 0 does not exist");
  file_.version_ = version;

  Header header;
  header.num_tensors = cursor_.read<uint64_t>("the tensor count");
  header.num_entries = cursor_.read<uint64_t>("the metadata count");
  if (header.num_entries > std::min(kMaxEntries, cursor_.remaining() / kMinEntryBytes)) {
    fail("the file claims " + std::to_string(header.num_entries) +
         " metadata entries, more than it can hold");
  }
  const uint64_t after_entries = cursor_.remaining() - header.num_entries * kMinEntryBytes;
  if (header.num_tensors > std::min(kMaxTensors, after_entries / kMinTensorBytes)) {
    fail("the file claims " + std::to_string(header.num_tensors) +
         " tensors, more than it can hold");
  }
  file_.metadata_.reserve(header.num_entries);
  file_.tensors_.reserve(header.num_tensors);
  tensor_offsets_.reserve(header.num_tensors);
  return header;
}

void Parser::read_entry(uint64_t index) {
  const std::string ordinal = "metadata entry " + std::to_string(index);
  const std::string_view key = cursor_.read_string("the key of " + ordinal);
  if (key.empty() || key.size() > kMaxNameBytes) {
    fail("the key of " + ordinal + " has " + std::to_string(key.size()) +
         " bytes; 1 to 65535 are allowed");
  }
  const std::string place = "the value of " + quote(key);
  const auto type = static_cast<ValueType>(cursor_.read<uint32_t>(place));
  if (!file_.metadata_index_.emplace(key, file_.metadata_.size()).second) {
    fail("the key " + quote(key) + " appears twice");
  }
  file_.metadata_.emplace_back(key, read_value(type, place));
}

Value Parser::read_value(ValueType type, const std::string& place) {
  switch (type) {
    case ValueType::kUint8:
      return uint64_t{cursor_.read<uint8_t>(place)};
    case ValueType::kUint16:
      return uint64_t{cursor_.read<uint16_t>(place)};
    case ValueType::kUint32:
      return uint64_t{cursor_.read<uint32_t>(place)};
    case ValueType::kUint64:
      return cursor_.read<uint64_t>(place);
    case ValueType::kInt8:
      return int64_t{cursor_.read<int8_t>(place)};
    case ValueType::kInt16:
      return int64_t{cursor_.read<int16_t>(place)};
    case ValueType::kInt32:
      return int64_t{cursor_.read<int32_t>(place)};
    case ValueType::kInt64:
      return cursor_.read<int64_t>(place);
    case ValueType::kFloat32:
      return double{cursor_.read<float>(place)};
    case ValueType::kFloat64:
      return cursor_.read<double>(place);
    case ValueType::kString:
      return cursor_.read_string(place);
    case ValueType::kArray:
      return read_array(place);
    case ValueType::kBool: {
      const auto byte = cursor_.read<uint8_t>(place);
      if (byte > 1) fail(place + " is a bool of value " + std::to_string(byte));
      return byte == 1;
    }
  }
  fail(place + " has unknown type " + std::to_string(static_cast<uint32_t>(type)));
}

Array Parser::read_array(const std::string& place) {
  Array array;
  array.element_type = static_cast<ValueType>(cursor_.read<uint32_t>(place));
  array.count = cursor_.read<uint64_t>(place);
  if (array.element_type == ValueType::kArray) fail(place + " is an array of arrays");
  if (array.element_type == ValueType::kString) {
    constexpr uint64_t kMinStringBytes = 8;
    if (array.count > cursor_.remaining() / kMinStringBytes) {
      fail(place + " claims " + std::to_string(array.count) +
           " strings, more than the file can hold");
    }
    array.strings.reserve(array.count);
    for (uint64_t i = 0; i < array.count; ++i) array.strings.push_back(cursor_.read_string(place));
    return array;
  }
  const uint64_t element_bytes = scalar_bytes(array.element_type);
  if (element_bytes == 0) {
    fail(place + " has unknown element type " +
         std::to_string(static_cast<uint32_t>(array.element_type)));
  }
  if (array.count > cursor_.remaining() / element_bytes) {
    fail(place + " claims " + std::to_string(array.count) +
         " elements, more than the file can hold");
  }
  array.data = cursor_.take(array.count * element_bytes, place);
  const auto is_bool = [](std::byte byte) { return std::to_integer<int>(byte) <= 1; };
  if (array.element_type == ValueType::kBool &&
      !std::all_of(array.data.begin(), array.data.end(), is_bool)) {
    fail(place + " holds bools that are neither 0 nor 1");
  }
  return array;
}

void Parser::read_tensor(uint64_t index) {
  const std::string ordinal = "tensor " + std::to_string(index);
  Tensor tensor;
  tensor.name = cursor_.read_string("the name of " + ordinal);
  if (tensor.name.empty() || tensor.name.size() > kMaxNameBytes) {
    fail("the name of " + ordinal + " has " + std::to_string(tensor.name.size()) +
         " bytes; 1 to 65535 are allowed");
  }
  const std::string place = "tensor " + quote(tensor.name);
  if (!file_.tensor_index_.emplace(tensor.name, file_.tensors_.size()).second) {
    fail(place + " appears twice");
  }
  tensor.shape = read_shape(place);
  const auto raw_type = cursor_.read<uint32_t>(place);
  const auto offset = cursor_.read<uint64_t>(place);
  const quant::TypeInfo& info = known_type(raw_type, place);
  tensor.type = info.type;
  if (tensor.shape[0] % info.block_elements != 0) {
    fail(place + " has rows of " + std::to_string(tensor.shape[0]) + " values, not whole " +
         std::string(info.name) + " blocks of " + std::to_string(info.block_elements));
  }
  tensor_offsets_.push_back(offset);
  file_.tensors_.push_back(std::move(tensor));
}

std::vector<int64_t> Parser::read_shape(const std::string& place) {
  const auto num_dimensions = cursor_.read<uint32_t>(place);
  if (num_dimensions < 1 || num_dimensions > 4) {
    fail(place + " has " + std::to_string(num_dimensions) + " dimensions; 1 to 4 are allowed");
  }
  // No element takes more than 4 bytes, so sizes in bytes stay below 2^63 too.
  constexpr int64_t kMaxElements = std::numeric_limits<int64_t>::max() / 8;
  std::vector<int64_t> shape;
  int64_t num_elements = 1;
  for (uint32_t i = 0; i < num_dimensions; ++i) {
    shape.push_back(cursor_.read<int64_t>(place));
    if (shape.back() < 1 || shape.back() > kMaxElements / num_elements) {
      fail(place + " has the impossible shape " + shape_text(shape));
    }
    num_elements *= shape.back();
  }
  return shape;
}

uint64_t Parser::alignment() const {
  const uint64_t alignment = file_.get_uint("general.alignment").value_or(kDefaultAlignment);
  if (!std::has_single_bit(alignment) || alignment < kMinAlignment || alignment > kMaxAlignment) {
    fail("general.alignment is " + std::to_string(alignment) +
         "; a power of two from 8 to 1048576 is allowed");
  }
  return alignment;
}

void Parser::place_tensors() {
  const uint64_t unit = alignment();
  file_.head_bytes_ = cursor_.position();
  if (file_.tensors_.empty()) return;
  const uint64_t data_start = (cursor_.position() + unit - 1) / unit * unit;
  const uint64_t data_bytes = data_start < bytes_.size() ? bytes_.size() - data_start : 0;
  for (size_t i = 0; i < file_.tensors_.size(); ++i) {
    Tensor& tensor = file_.tensors_[i];
    const uint64_t offset = tensor_offsets_[i];
    const uint64_t num_bytes = quant::size_bytes(tensor.type, tensor.num_elements());
    const std::string place = "tensor " + quote(tensor.name);
    if (offset % unit != 0) {
      fail(place + " lies at offset " + std::to_string(offset) + ", not a multiple of " +
           std::to_string(unit));
    }
    if (offset > data_bytes || num_bytes > data_bytes - offset) {
      fail(place + " of " + std::to_string(num_bytes) + " bytes at offset " +
           std::to_string(offset) + " passes the end of the file's " + std::to_string(data_bytes) +
           " bytes of data: the file is damaged or cut short; fetch it again");
    }
    tensor.data = bytes_.part(data_start + offset, num_bytes);
  }
  check_no_overlap(tensor_offsets_);
}

void Parser::check_no_overlap(const std::vector<uint64_t>& offsets) const {
  std::vector<size_t> order(offsets.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&offsets](size_t a, size_t b) { return offsets[a] < offsets[b]; });
  for (size_t i = 1; i < order.size(); ++i) {
    const Tensor& previous = file_.tensors_[order[i - 1]];
    if (offsets[order[i]] - offsets[order[i - 1]] < previous.data.size()) {
      fail("tensors " + quote(previous.name) + " and " + quote(file_.tensors_[order[i]].name) +
           " overlap");
    }
  }
}

}  // namespace sluice::gguf
