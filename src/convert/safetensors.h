#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_range.h"
#include "base/input_file.h"

namespace sluice::convert {

struct SafeTensor {
  std::string name;
  std::string dtype;           // as the file spells it: "BF16"
  std::vector<int64_t> shape;  // slowest first; may be empty (one number)
  ByteRange data;
};

// A safetensors file, checked whole: the header's size, its JSON, every type, shape and place. Its
// tensors are read on demand and live as long as it does. Source: the format's description at
// huggingface.co/docs/safetensors.
class SafetensorsFile {
 public:
  static constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

  // Throws Error: kNotFound, kIo, kCorruptData with what is wrong.
  static SafetensorsFile open(const std::string& path);
  // Reads bytes that the caller keeps alive.
  static SafetensorsFile parse(std::span<const std::byte> bytes);

  const std::vector<SafeTensor>& tensors() const { return tensors_; }

 private:
  void read(const ByteRange& bytes, const std::string& what);

  std::unique_ptr<InputFile> input_;  // null for parse()
  std::vector<SafeTensor> tensors_;
};

// The files of a model by their names: a folder's, or blobs that a client has sent. A name is never
// joined to a path by who reads it.
using ModelFiles = std::map<std::string, std::string>;  // name to path

// What lies in a folder and is not hidden. Throws Error(kNotFound, kIo).
ModelFiles list_model_files(const std::string& folder);

// All tensors of a model: of model.safetensors, or of the parts that model.safetensors.index.json
// lists. Throws Error: kCorruptData for an index that names what is no plain file name, a part or
// tensor that is missing; kNotFound when there are no weights.
class SafetensorsModel {
 public:
  explicit SafetensorsModel(const ModelFiles& files);

  const std::map<std::string, const SafeTensor*>& tensors() const { return tensors_; }

 private:
  void add(const std::string& name, const ModelFiles& files);

  std::vector<std::unique_ptr<SafetensorsFile>> parts_;
  std::map<std::string, const SafeTensor*> tensors_;
};

// The names of the parts that an index lists, each once. Throws Error(kCorruptData).
std::vector<std::string> parse_index(std::string_view text);

}  // namespace sluice::convert
