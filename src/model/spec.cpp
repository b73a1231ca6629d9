#include "model/spec.h"

#include <array>
#include <cmath>
#include <span>
#include <string_view>

#include "base/error.h"
#include "gguf/parts.h"
#include "model/architectures/architectures.h"
#include "model/yarn.h"
#include "quant/codec.h"

namespace sluice::model {
namespace {

struct Architecture {
  std::string_view name;
  ModelSpec (*read)(const MetadataReader&);
};

constexpr std::array kArchitectures = {
    Architecture{"llama", read_llama},
    Architecture{"qwen2", read_qwen2},
    Architecture{"qwen3", read_qwen3},
    Architecture{"gemma3", read_gemma3},
};

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorCode::kCorruptData, message);
}

std::vector<float> read_rope_divisors(const gguf::File& file, int num_dims) {
  const gguf::Tensor* tensor = file.find_tensor("rope_freqs.weight");
  if (!tensor) return {};
  if (tensor->num_elements() != num_dims / 2 || tensor->type != quant::Type::kF32) {
    fail("rope_freqs.weight must hold " + std::to_string(num_dims / 2) + " F32 values");
  }
  std::vector<float> divisors(static_cast<size_t>(num_dims) / 2);
  tensor->data.read(0, std::as_writable_bytes(std::span(divisors)));
  for (const float divisor : divisors) {
    if (!(divisor > 0.0f) || !std::isfinite(divisor)) {
      fail("rope_freqs.weight holds a value that is not a positive number");
    }
  }
  return divisors;
}

// Once more than what rope_freqs.weight divides by.
void stretch_by_yarn(const MetadataReader& reader, int head_dim, RopeSpec& rope) {
  if (rope.num_dims != head_dim) {
    throw Error(ErrorCode::kUnsupported,
                "rope scaling 'yarn' of a part of a head is not supported");
  }
  if (rope.freq_base <= 1.0f) fail(reader.architecture() + ".rope.freq_base must be larger than 1");
  Yarn yarn;
  yarn.factor = reader.require_float("rope.scaling.factor", 1.0f, 1e6f);
  const int trained = reader.require_int("context_length", 1, 1 << 30);
  yarn.original_context =
      reader.int_or("rope.scaling.original_context_length", trained, 1, 1 << 30);
  yarn.beta_fast = reader.float_or("rope.scaling.yarn_beta_fast", 32.0f, 1e-3f, 1e6f);
  yarn.beta_slow = reader.float_or("rope.scaling.yarn_beta_slow", 1.0f, 1e-3f, 1e6f);
  const std::vector<float> divisors = yarn_divisors(yarn, rope.num_dims, rope.freq_base);
  rope.freq_divisors.resize(divisors.size(), 1.0f);
  for (size_t i = 0; i < divisors.size(); ++i) rope.freq_divisors[i] *= divisors[i];
  rope.magnitude = reader.float_or("rope.scaling.attn_factor", 1.0f, 1e-3f, 1e3f) *
                   static_cast<float>(yarn_magnitude(yarn.factor));
}

RopeSpec read_rope(const MetadataReader& reader, int head_dim, float freq_base) {
  RopeSpec rope;
  rope.num_dims = reader.int_or("rope.dimension_count", head_dim, 2, head_dim);
  if (rope.num_dims % 2 != 0) fail(reader.architecture() + ".rope.dimension_count is odd");
  rope.freq_base = reader.float_or("rope.freq_base", freq_base, 1.0f, 1e12f);
  const std::string scaling = reader.string_or("rope.scaling.type", "none");
  if (scaling == "linear") {
    rope.freq_scale = 1.0f / reader.require_float("rope.scaling.factor", 1e-3f, 1e6f);
  } else if (scaling != "none" && scaling != "yarn") {
    throw Error(ErrorCode::kUnsupported, "rope scaling '" + scaling +
                                             "' is not supported (known: none, linear, yarn, and "
                                             "Llama 3.1's rope_freqs tensor)");
  }
  rope.freq_divisors = read_rope_divisors(reader.file(), rope.num_dims);
  if (scaling == "yarn") stretch_by_yarn(reader, head_dim, rope);
  return rope;
}

int vocabulary_size(const gguf::File& file, bool may_have_more_tokens) {
  const gguf::Tensor* embedding = file.find_tensor("token_embd.weight");
  if (!embedding || embedding->shape.size() != 2) {
    fail("the tensor token_embd.weight is missing or is not a matrix");
  }
  const int64_t rows = embedding->rows();
  if (rows < 1 || rows > (1 << 24)) {
    fail("token_embd.weight has " + std::to_string(rows) + " rows");
  }
  const auto* tokens = file.get_strings("tokenizer.ggml.tokens");
  const int64_t count = tokens ? static_cast<int64_t>(tokens->size()) : rows;
  if (count < rows || (count > rows && !may_have_more_tokens)) {
    fail("the vocabulary has " + std::to_string(tokens->size()) + " tokens, the embedding " +
         std::to_string(rows) + " rows");
  }
  return static_cast<int>(rows);
}

uint64_t count_parameters(const gguf::File& file) {
  uint64_t count = 0;
  for (const gguf::Tensor& tensor : file.tensors()) {
    count += static_cast<uint64_t>(tensor.num_elements());
  }
  return count;
}

}  // namespace

int MetadataReader::require_int(std::string_view key, int min, int max) const {
  const auto value = file_.get_int(full(key));
  if (!value) fail("the key " + full(key) + " is missing");
  if (*value < min || *value > max) {
    fail(full(key) + " is " + std::to_string(*value) + ", expected " + std::to_string(min) +
         " to " + std::to_string(max));
  }
  return static_cast<int>(*value);
}

int MetadataReader::int_or(std::string_view key, int fallback, int min, int max) const {
  return has(key) ? require_int(key, min, max) : fallback;
}

float MetadataReader::require_float(std::string_view key, float min, float max) const {
  const auto value = file_.get_float(full(key));
  if (!value) fail("the key " + full(key) + " is missing");
  if (!(*value >= min && *value <= max)) {
    fail(full(key) + " is " + std::to_string(*value) + ", expected " + std::to_string(min) +
         " to " + std::to_string(max));
  }
  return static_cast<float>(*value);
}

float MetadataReader::float_or(std::string_view key, float fallback, float min, float max) const {
  return has(key) ? require_float(key, min, max) : fallback;
}

std::string MetadataReader::string_or(std::string_view key, std::string_view fallback) const {
  return std::string(file_.get_string(full(key)).value_or(fallback));
}

ModelSpec read_common(const MetadataReader& reader, const CommonDefaults& defaults) {
  const gguf::File& file = reader.file();
  ModelSpec spec;
  spec.architecture = reader.architecture();
  spec.name = std::string(file.get_string("general.name").value_or(""));
  spec.num_layers = reader.require_int("block_count", 1, 4096);
  spec.embedding_length = reader.require_int("embedding_length", 1, 1 << 20);
  spec.feed_forward_length = reader.require_int("feed_forward_length", 1, 1 << 22);
  spec.context_length = reader.require_int("context_length", 1, 1 << 30);
  spec.num_heads = reader.require_int("attention.head_count", 1, 1 << 16);
  spec.num_kv_heads = reader.int_or("attention.head_count_kv", spec.num_heads, 1, spec.num_heads);
  if (spec.num_heads % spec.num_kv_heads != 0) {
    fail("attention.head_count is not a multiple of attention.head_count_kv");
  }
  if (!reader.has("attention.key_length") && spec.embedding_length % spec.num_heads != 0) {
    fail("embedding_length is not a multiple of attention.head_count");
  }
  spec.head_dim =
      reader.int_or("attention.key_length", spec.embedding_length / spec.num_heads, 2, 1 << 12);
  if (reader.int_or("attention.value_length", spec.head_dim, 1, 1 << 12) != spec.head_dim) {
    throw Error(ErrorCode::kUnsupported, "keys and values of different lengths are not supported");
  }
  if (spec.head_dim % 2 != 0) fail("the heads have an odd length");
  constexpr const char* kNormEps = "attention.layer_norm_rms_epsilon";
  spec.norm_eps = defaults.norm_eps ? reader.float_or(kNormEps, *defaults.norm_eps, 1e-12f, 1.0f)
                                    : reader.require_float(kNormEps, 1e-12f, 1.0f);
  spec.rope = read_rope(reader, spec.head_dim, defaults.rope_freq_base);
  spec.attention_scale =
      spec.rope.magnitude * spec.rope.magnitude / std::sqrt(static_cast<float>(spec.head_dim));
  spec.pooling = static_cast<PoolingType>(reader.int_or("pooling_type", 0, 0, 4));
  spec.vocab_size = vocabulary_size(file, defaults.may_have_more_tokens);
  spec.num_parameters = count_parameters(file);
  return spec;
}

ModelSpec read_spec(const gguf::File& file) {
  gguf::require_whole(file);
  const auto name = file.get_string("general.architecture");
  if (!name) fail("the key general.architecture is missing: not a language model's GGUF file");
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name == *name) {
      return architecture.read(MetadataReader(file, std::string(*name)));
    }
  }
  std::string known;
  for (const std::string& supported : supported_architectures()) {
    known += (known.empty() ? "" : ", ") + supported;
  }
  throw Error(ErrorCode::kUnsupported, "the model architecture '" + std::string(*name) +
                                           "' is not supported (known: " + known + ")");
}

std::vector<std::string> supported_architectures() {
  std::vector<std::string> names;
  for (const Architecture& architecture : kArchitectures) names.emplace_back(architecture.name);
  return names;
}

}  // namespace sluice::model
