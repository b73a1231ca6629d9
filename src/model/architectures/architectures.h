#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "gguf/file.h"
#include "model/spec.h"

// An architecture is one function from metadata to a ModelSpec, in its own file here, and one line
// in the table in spec.cpp.
namespace sluice::model {

// Reads "<architecture>.<key>" values and checks their range; errors name the key.
class MetadataReader {
 public:
  MetadataReader(const gguf::File& file, std::string architecture)
      : file_(file), architecture_(std::move(architecture)) {}

  const gguf::File& file() const { return file_; }
  const std::string& architecture() const { return architecture_; }

  int require_int(std::string_view key, int min, int max) const;
  int int_or(std::string_view key, int fallback, int min, int max) const;
  // Finite; Error otherwise.
  float require_float(std::string_view key, float min, float max) const;
  float float_or(std::string_view key, float fallback, float min, float max) const;
  std::string string_or(std::string_view key, std::string_view fallback) const;
  bool has(std::string_view key) const { return file_.find(full(key)) != nullptr; }

 private:
  std::string full(std::string_view key) const { return architecture_ + "." + std::string(key); }

  const gguf::File& file_;
  std::string architecture_;
};

// What some files of an architecture leave out, or have too much of.
struct CommonDefaults {
  std::optional<float> norm_eps;  // none: must be in the file
  float rope_freq_base = 10000.0f;
  bool may_have_more_tokens = false;  // than the embedding has rows: nobody can use them
};

// What nearly all decoder-only models share: sizes, heads, norm epsilon, rope base and scaling.
ModelSpec read_common(const MetadataReader& reader, const CommonDefaults& defaults = {});

ModelSpec read_llama(const MetadataReader& reader);
ModelSpec read_qwen2(const MetadataReader& reader);
ModelSpec read_qwen3(const MetadataReader& reader);
ModelSpec read_gemma3(const MetadataReader& reader);

}  // namespace sluice::model
