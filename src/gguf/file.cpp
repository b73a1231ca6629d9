#include "gguf/file.h"

#include <cstring>
#include <limits>

#include "base/error.h"
#include "gguf/parser.h"
#include "gguf/quote.h"

namespace sluice::gguf {
namespace {

[[noreturn]] void fail_type(std::string_view key, std::string_view wanted) {
  throw Error(ErrorCode::kCorruptData,
              "metadata " + quote(key) + " is not " + std::string(wanted) + ", as it must be");
}

[[noreturn]] void fail_range(std::string_view key) {
  throw Error(ErrorCode::kCorruptData, "metadata " + quote(key) + " has a value out of range");
}

// The value as T, or null when the key is absent.
template <typename T>
const T* get_as(const File& file, std::string_view key, std::string_view wanted) {
  const Value* value = file.find(key);
  if (value == nullptr) return nullptr;
  const T* typed = std::get_if<T>(value);
  if (typed == nullptr) fail_type(key, wanted);
  return typed;
}

// Decodes an array's scalars of type From.
template <typename From, typename To>
std::vector<To> decode_array(const Array& array, std::string_view key) {
  std::vector<To> values(array.count);
  for (size_t i = 0; i < values.size(); ++i) {
    From element;
    std::memcpy(&element, array.data.data() + i * sizeof(From), sizeof(From));
    if constexpr (std::is_same_v<From, uint64_t> && std::is_same_v<To, int64_t>) {
      if (element > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) fail_range(key);
    }
    values[i] = static_cast<To>(element);
  }
  return values;
}

// Empty when the elements are no integers.
template <typename To>
std::optional<std::vector<To>> decode_integers(const Array& array, std::string_view key) {
  switch (array.element_type) {
    case ValueType::kUint8:
    case ValueType::kBool:
      return decode_array<uint8_t, To>(array, key);
    case ValueType::kInt8:
      return decode_array<int8_t, To>(array, key);
    case ValueType::kUint16:
      return decode_array<uint16_t, To>(array, key);
    case ValueType::kInt16:
      return decode_array<int16_t, To>(array, key);
    case ValueType::kUint32:
      return decode_array<uint32_t, To>(array, key);
    case ValueType::kInt32:
      return decode_array<int32_t, To>(array, key);
    case ValueType::kUint64:
      return decode_array<uint64_t, To>(array, key);
    case ValueType::kInt64:
      return decode_array<int64_t, To>(array, key);
    default:
      return std::nullopt;
  }
}

}  // namespace

int64_t Tensor::num_elements() const {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

File File::open(const std::string& path) {
  auto input = std::make_unique<InputFile>(path);
  try {
    File file = Parser(ByteRange(*input)).parse();
    file.input_ = std::move(input);
    return file;
  } catch (const Error& error) {
    throw Error(error.code(), path + ": " + error.what());
  }
}

File File::parse(std::span<const std::byte> bytes) { return Parser(bytes).parse(); }

void File::check_unchanged() const {
  if (input_) input_->check_unchanged();
}

void File::close() {
  for (Tensor& tensor : tensors_) tensor.data = {};
  input_.reset();
}

const Value* File::find(std::string_view key) const {
  const auto found = metadata_index_.find(key);
  return found == metadata_index_.end() ? nullptr : &metadata_[found->second].second;
}

const Tensor* File::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

std::optional<uint64_t> File::get_uint(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<uint64_t>(value)) return *number;
  const auto* number = std::get_if<int64_t>(value);
  if (number == nullptr) fail_type(key, "an integer");
  if (*number < 0) fail_range(key);
  return static_cast<uint64_t>(*number);
}

std::optional<int64_t> File::get_int(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<int64_t>(value)) return *number;
  const auto* number = std::get_if<uint64_t>(value);
  if (number == nullptr) fail_type(key, "an integer");
  if (*number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) fail_range(key);
  return static_cast<int64_t>(*number);
}

std::optional<double> File::get_float(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<double>(value)) return *number;
  if (const auto* number = std::get_if<uint64_t>(value)) return static_cast<double>(*number);
  if (const auto* number = std::get_if<int64_t>(value)) return static_cast<double>(*number);
  fail_type(key, "a number");
}

std::optional<bool> File::get_bool(std::string_view key) const {
  const bool* value = get_as<bool>(*this, key, "a bool");
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<std::string_view> File::get_string(std::string_view key) const {
  const auto* value = get_as<std::string_view>(*this, key, "a string");
  return value == nullptr ? std::nullopt : std::optional(*value);
}

const std::vector<std::string_view>* File::get_strings(std::string_view key) const {
  const auto* array = get_as<Array>(*this, key, "an array of strings");
  if (array == nullptr) return nullptr;
  if (array->element_type != ValueType::kString) fail_type(key, "an array of strings");
  return &array->strings;
}

std::optional<std::vector<int64_t>> File::get_ints(std::string_view key) const {
  const auto* array = get_as<Array>(*this, key, "an array of integers");
  if (array == nullptr) return std::nullopt;
  auto values = decode_integers<int64_t>(*array, key);
  if (!values) fail_type(key, "an array of integers");
  return values;
}

std::optional<std::vector<float>> File::get_floats(std::string_view key) const {
  const auto* array = get_as<Array>(*this, key, "an array of numbers");
  if (array == nullptr) return std::nullopt;
  if (array->element_type == ValueType::kFloat32) return decode_array<float, float>(*array, key);
  if (array->element_type == ValueType::kFloat64) return decode_array<double, float>(*array, key);
  auto values = decode_integers<float>(*array, key);
  if (!values) fail_type(key, "an array of numbers");
  return values;
}

}  // namespace sluice::gguf
