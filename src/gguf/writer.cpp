#include "gguf/writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "gguf/quote.h"

namespace sluice::gguf {
namespace {

constexpr size_t kAlignment = 32;

using Bytes = std::vector<std::byte>;

[[noreturn]] void refuse(const std::string& reason) {
  throw Error(ErrorCode::kInvalidArgument, reason);
}

void append_bytes(Bytes& out, const void* data, size_t num_bytes) {
  if (num_bytes == 0) return;
  const size_t start = out.size();
  out.resize(start + num_bytes);
  std::memcpy(out.data() + start, data, num_bytes);
}

template <typename T>
void append(Bytes& out, T value) {
  append_bytes(out, &value, sizeof(value));
}

void append_string(Bytes& out, std::string_view text) {
  append(out, uint64_t{text.size()});
  append_bytes(out, text.data(), text.size());
}

void append_padding(Bytes& out) {
  out.resize((out.size() + kAlignment - 1) / kAlignment * kAlignment);
}

uint64_t padded(uint64_t num_bytes) {
  return (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
}

template <typename T>
Bytes encode_scalar(ValueType type, T value) {
  Bytes out;
  append(out, type);
  append(out, value);
  return out;
}

Bytes encode_array_head(ValueType element_type, uint64_t count) {
  Bytes out;
  append(out, ValueType::kArray);
  append(out, element_type);
  append(out, count);
  return out;
}

template <typename Strings>
Bytes encode_strings(const Strings& strings) {
  Bytes out = encode_array_head(ValueType::kString, strings.size());
  for (const auto& text : strings) append_string(out, text);
  return out;
}

Bytes encode_string(std::string_view text) {
  Bytes out;
  append(out, ValueType::kString);
  append_string(out, text);
  return out;
}

Bytes encode_array(const Array& array) {
  if (array.element_type == ValueType::kString) return encode_strings(array.strings);
  Bytes out = encode_array_head(array.element_type, array.count);
  append_bytes(out, array.data.data(), array.data.size());
  return out;
}

// Readers of single numbers commonly insist on 32 bits, so these are the first choice.
struct EncodeValue {
  Bytes operator()(uint64_t value) const {
    const bool is_small = value <= std::numeric_limits<uint32_t>::max();
    return is_small ? encode_scalar(ValueType::kUint32, static_cast<uint32_t>(value))
                    : encode_scalar(ValueType::kUint64, value);
  }
  Bytes operator()(int64_t value) const {
    const bool is_small = value == static_cast<int32_t>(value);
    return is_small ? encode_scalar(ValueType::kInt32, static_cast<int32_t>(value))
                    : encode_scalar(ValueType::kInt64, value);
  }
  Bytes operator()(double value) const {
    // A double beyond float's range may not be converted; NaN compares false and stays as it is.
    constexpr double kMaxFloat = std::numeric_limits<float>::max();
    const bool is_float = value >= -kMaxFloat && value <= kMaxFloat &&
                          static_cast<double>(static_cast<float>(value)) == value;
    return is_float ? encode_scalar(ValueType::kFloat32, static_cast<float>(value))
                    : encode_scalar(ValueType::kFloat64, value);
  }
  Bytes operator()(bool value) const {
    return encode_scalar(ValueType::kBool, static_cast<uint8_t>(value));
  }
  Bytes operator()(std::string_view text) const { return encode_string(text); }
  Bytes operator()(const Array& array) const { return encode_array(array); }
};

// Removes what it wrote unless finished. Devices such as /dev/full are left alone.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path) : path_(path) {
    fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd_ < 0) throw io_error("cannot create", path, errno);
  }
  ~OutputFile() {
    if (fd_ < 0) return;
    struct stat status = {};
    const bool is_file = ::fstat(fd_, &status) == 0 && S_ISREG(status.st_mode);
    ::close(fd_);
    if (is_file) ::unlink(path_.c_str());
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) throw io_error("cannot write", path_, errno);
      bytes = bytes.subspan(static_cast<size_t>(written));
    }
  }

  // Quotas and network file systems may report a failed write only here.
  void finish() {
    if (::fsync(fd_) != 0 && errno != EINVAL) throw io_error("cannot write", path_, errno);
    ::close(std::exchange(fd_, -1));
  }

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace

void Writer::set_uint32(const std::string& key, uint32_t value) {
  add_entry(key, encode_scalar(ValueType::kUint32, value));
}
void Writer::set_uint64(const std::string& key, uint64_t value) {
  add_entry(key, encode_scalar(ValueType::kUint64, value));
}
void Writer::set_int32(const std::string& key, int32_t value) {
  add_entry(key, encode_scalar(ValueType::kInt32, value));
}
void Writer::set_float32(const std::string& key, float value) {
  add_entry(key, encode_scalar(ValueType::kFloat32, value));
}
void Writer::set_bool(const std::string& key, bool value) { add_entry(key, EncodeValue()(value)); }
void Writer::set_string(const std::string& key, const std::string& value) {
  add_entry(key, encode_string(value));
}
void Writer::set_strings(const std::string& key, const std::vector<std::string>& values) {
  add_entry(key, encode_strings(values));
}
void Writer::set_int32s(const std::string& key, const std::vector<int32_t>& values) {
  Bytes encoded = encode_array_head(ValueType::kInt32, values.size());
  append_bytes(encoded, values.data(), values.size() * sizeof(int32_t));
  add_entry(key, std::move(encoded));
}
void Writer::set_float32s(const std::string& key, const std::vector<float>& values) {
  Bytes encoded = encode_array_head(ValueType::kFloat32, values.size());
  append_bytes(encoded, values.data(), values.size() * sizeof(float));
  add_entry(key, std::move(encoded));
}

void Writer::copy(const std::string& key, const Value& value) {
  if (key == "general.alignment") return;
  add_entry(key, std::visit(EncodeValue(), value));
}

void Writer::add_entry(const std::string& key, std::vector<std::byte> encoded) {
  if (key.empty()) refuse("a metadata key may not be empty");
  if (key == "general.alignment") refuse("general.alignment is set by the writer; leave it out");
  if (!keys_.insert(key).second) refuse("the metadata key " + quote(key) + " is given twice");
  entries_.push_back({key, std::move(encoded)});
}

Writer::PendingTensor& Writer::place_tensor(const std::string& name, quant::Type type,
                                            const std::vector<int64_t>& shape) {
  if (name.empty()) refuse("a tensor's name may not be empty");
  const bool is_sound = !shape.empty() && shape.size() <= 4 &&
                        std::all_of(shape.begin(), shape.end(), [](int64_t n) { return n > 0; });
  if (!is_sound) refuse("tensor " + quote(name) + " needs 1 to 4 positive dimensions");
  size_t expected = quant::size_bytes(type, shape[0]);
  for (size_t i = 1; i < shape.size(); ++i) {
    if (__builtin_mul_overflow(expected, static_cast<size_t>(shape[i]), &expected)) {
      refuse("tensor " + quote(name) + " is too large");
    }
  }
  if (!tensor_names_.insert(name).second) refuse("tensor " + quote(name) + " is given twice");
  return tensors_.emplace_back(PendingTensor{name, type, shape, expected, {}});
}

void Writer::add_tensor(const std::string& name, quant::Type type,
                        const std::vector<int64_t>& shape, std::span<const std::byte> data) {
  PendingTensor& tensor = place_tensor(name, type, shape);
  if (data.size() != tensor.size_bytes) {
    refuse("tensor " + quote(name) + " has " + std::to_string(data.size()) +
           " bytes of data; its type and shape make " + std::to_string(tensor.size_bytes));
  }
  tensor.data.assign(data.begin(), data.end());
}

void Writer::declare_tensor(const std::string& name, quant::Type type,
                            const std::vector<int64_t>& shape) {
  place_tensor(name, type, shape);
}

std::vector<std::byte> Writer::head() const {
  Bytes out;
  append_bytes(out, "GGUF", 4);
  append(out, uint32_t{3});
  append(out, uint64_t{tensors_.size()});
  append(out, uint64_t{entries_.size()});
  for (const Entry& entry : entries_) {
    append_string(out, entry.key);
    append_bytes(out, entry.encoded.data(), entry.encoded.size());
  }
  uint64_t offset = 0;
  for (const PendingTensor& tensor : tensors_) {
    append_string(out, tensor.name);
    append(out, static_cast<uint32_t>(tensor.shape.size()));
    for (const int64_t size : tensor.shape) append(out, size);
    append(out, static_cast<uint32_t>(tensor.type));
    append(out, offset);
    offset += padded(tensor.size_bytes);
  }
  append_padding(out);
  return out;
}

std::vector<std::byte> Writer::bytes() const {
  Bytes out = head();
  for (const PendingTensor& tensor : tensors_) {
    append_bytes(out, tensor.data.data(), tensor.data.size());
    out.resize(out.size() + padded(tensor.size_bytes) - tensor.data.size());
  }
  return out;
}

std::vector<Writer::Place> Writer::places() const {
  std::vector<Place> places;
  uint64_t offset = head().size();
  for (const PendingTensor& tensor : tensors_) {
    places.push_back({offset, tensor.size_bytes});
    offset += padded(tensor.size_bytes);
  }
  return places;
}

uint64_t Writer::size_bytes() const {
  uint64_t size = head().size();
  for (const PendingTensor& tensor : tensors_) size += padded(tensor.size_bytes);
  return size;
}

void Writer::save(const std::string& path) const {
  OutputFile file(path);
  file.write(head());
  const std::vector<std::byte> zeros(size_t{1} << 16);
  for (const PendingTensor& tensor : tensors_) {
    file.write(tensor.data);
    for (size_t rest = padded(tensor.size_bytes) - tensor.data.size(); rest > 0;) {
      const size_t piece = std::min(rest, zeros.size());
      file.write(std::span(zeros).first(piece));
      rest -= piece;
    }
  }
  file.finish();
}

}  // namespace sluice::gguf
