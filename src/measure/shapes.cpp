#include "measure/shapes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <map>
#include <random>
#include <utility>

#include "convert/mix.h"
#include "gguf/writer.h"
#include "quant/codec.h"

namespace sluice::measure {
namespace {

// As each publisher's config.json has it.
constexpr std::array kShapes = {
    Shape{"llama3.1:8b", "llama", 32, 4096, 32, 8, 128, 14336, 128256, 131072, false},
    Shape{"llama3.1:70b", "llama", 80, 8192, 64, 8, 128, 28672, 128256, 131072, false},
    Shape{"llama3.1:405b", "llama", 126, 16384, 128, 8, 128, 53248, 128256, 131072, false},
    Shape{"llama3.2:1b", "llama", 16, 2048, 32, 8, 64, 8192, 128256, 131072, true},
    Shape{"llama3.2:3b", "llama", 28, 3072, 24, 8, 128, 8192, 128256, 131072, true},
    Shape{"llama3.3:70b", "llama", 80, 8192, 64, 8, 128, 28672, 128256, 131072, false},
    Shape{"mistral:7b", "llama", 32, 4096, 32, 8, 128, 14336, 32768, 32768, false},
    Shape{"mistral-nemo:12b", "llama", 40, 5120, 32, 8, 128, 14336, 131072, 131072, false},
    Shape{"mistral-small:24b", "llama", 40, 5120, 32, 8, 128, 32768, 131072, 32768, false},
    Shape{"smollm2:135m", "llama", 30, 576, 9, 3, 64, 1536, 49152, 8192, true},
    Shape{"smollm2:360m", "llama", 32, 960, 15, 5, 64, 2560, 49152, 8192, true},
    Shape{"smollm2:1.7b", "llama", 24, 2048, 32, 32, 64, 8192, 49152, 8192, true},
    Shape{"qwen2.5:0.5b", "qwen2", 24, 896, 14, 2, 64, 4864, 151936, 32768, true},
    Shape{"qwen2.5:1.5b", "qwen2", 28, 1536, 12, 2, 128, 8960, 151936, 32768, true},
    Shape{"qwen2.5:3b", "qwen2", 36, 2048, 16, 2, 128, 11008, 151936, 32768, true},
    Shape{"qwen2.5:7b", "qwen2", 28, 3584, 28, 4, 128, 18944, 152064, 32768, false},
    Shape{"qwen2.5:14b", "qwen2", 48, 5120, 40, 8, 128, 13824, 152064, 32768, false},
    Shape{"qwen2.5:32b", "qwen2", 64, 5120, 40, 8, 128, 27648, 152064, 32768, false},
    Shape{"qwen2.5:72b", "qwen2", 80, 8192, 64, 8, 128, 29568, 152064, 32768, false},
    Shape{"qwen3:0.6b", "qwen3", 28, 1024, 16, 8, 128, 3072, 151936, 40960, true},
    Shape{"qwen3:1.7b", "qwen3", 28, 2048, 16, 8, 128, 6144, 151936, 40960, true},
    Shape{"qwen3:4b", "qwen3", 36, 2560, 32, 8, 128, 9728, 151936, 40960, true},
    Shape{"qwen3:8b", "qwen3", 36, 4096, 32, 8, 128, 12288, 151936, 40960, false},
    Shape{"qwen3:14b", "qwen3", 40, 5120, 40, 8, 128, 17408, 151936, 40960, false},
    Shape{"qwen3:32b", "qwen3", 64, 5120, 64, 8, 128, 25600, 151936, 40960, false},
    Shape{"gemma3:270m", "gemma3", 18, 640, 4, 1, 256, 2048, 262144, 32768, true, 512},
    Shape{"gemma3:1b", "gemma3", 26, 1152, 4, 1, 256, 6912, 262144, 32768, true, 512},
    Shape{"gemma3:4b", "gemma3", 34, 2560, 8, 4, 256, 10240, 262208, 131072, true, 1024},
    Shape{"gemma3:12b", "gemma3", 48, 3840, 16, 8, 256, 15360, 262208, 131072, true, 1024},
    Shape{"gemma3:27b", "gemma3", 62, 5376, 32, 16, 128, 21504, 262208, 131072, true, 1024},
};

using Facts = std::vector<convert::TensorFacts>;

void add(Facts& facts, const std::string& name, std::vector<int64_t> shape) {
  const quant::Type source = shape.size() == 1 ? quant::Type::kF32 : quant::Type::kF16;
  facts.push_back({name, std::move(shape), source});
}

void add_layer(Facts& facts, const Shape& shape, const std::string& prefix) {
  const int64_t width = shape.embedding_length, inner = shape.feed_forward_length;
  const int64_t q = int64_t{shape.num_heads} * shape.head_dim;
  const int64_t kv = int64_t{shape.num_kv_heads} * shape.head_dim;
  const bool is_gemma = shape.architecture == "gemma3";
  add(facts, prefix + "attn_norm.weight", {width});
  add(facts, prefix + "attn_q.weight", {width, q});
  add(facts, prefix + "attn_k.weight", {width, kv});
  add(facts, prefix + "attn_v.weight", {width, kv});
  add(facts, prefix + "attn_output.weight", {q, width});
  if (shape.architecture == "qwen2") {
    add(facts, prefix + "attn_q.bias", {q});
    add(facts, prefix + "attn_k.bias", {kv});
    add(facts, prefix + "attn_v.bias", {kv});
  }
  if (is_gemma || shape.architecture == "qwen3") {
    add(facts, prefix + "attn_q_norm.weight", {shape.head_dim});
    add(facts, prefix + "attn_k_norm.weight", {shape.head_dim});
  }
  if (is_gemma) {
    add(facts, prefix + "post_attention_norm.weight", {width});
    add(facts, prefix + "post_ffw_norm.weight", {width});
  }
  add(facts, prefix + "ffn_norm.weight", {width});
  add(facts, prefix + "ffn_gate.weight", {width, inner});
  add(facts, prefix + "ffn_up.weight", {width, inner});
  add(facts, prefix + "ffn_down.weight", {inner, width});
}

Facts tensors_of(const Shape& shape) {
  Facts facts;
  add(facts, "token_embd.weight", {shape.embedding_length, shape.vocab_size});
  for (int layer = 0; layer < shape.num_layers; ++layer) {
    add_layer(facts, shape, "blk." + std::to_string(layer) + ".");
  }
  add(facts, "output_norm.weight", {shape.embedding_length});
  if (!shape.is_tied) {
    add(facts, "output.weight", {shape.embedding_length, shape.vocab_size});
  }
  return facts;
}

void set_metadata(gguf::Writer& writer, const Shape& shape, uint32_t file_type) {
  const auto set = [&](const char* key, int value) {
    writer.set_uint32(std::string(shape.architecture) + "." + key, static_cast<uint32_t>(value));
  };
  writer.set_string("general.architecture", std::string(shape.architecture));
  writer.set_string("general.name", std::string(shape.name));
  writer.set_uint32("general.file_type", file_type);
  set("block_count", shape.num_layers);
  set("embedding_length", shape.embedding_length);
  set("feed_forward_length", shape.feed_forward_length);
  set("context_length", shape.context_length);
  set("attention.head_count", shape.num_heads);
  set("attention.head_count_kv", shape.num_kv_heads);
  set("attention.key_length", shape.head_dim);
  set("attention.value_length", shape.head_dim);
  if (shape.sliding_window > 0) set("attention.sliding_window", shape.sliding_window);
  writer.set_float32(std::string(shape.architecture) + ".attention.layer_norm_rms_epsilon", 1e-5f);
}

gguf::Writer declare(const Shape& shape, const convert::Mix& mix) {
  const Facts facts = tensors_of(shape);
  convert::ModelFacts model;
  model.num_layers = shape.num_layers;
  model.has_grouped_heads = shape.num_kv_heads < shape.num_heads;
  const std::vector<quant::Type> types = convert::choose_types(mix, model, facts);
  gguf::Writer writer;
  set_metadata(writer, shape, mix.file_type);
  for (size_t i = 0; i < facts.size(); ++i) {
    writer.declare_tensor(facts[i].name, types[i], facts[i].shape);
  }
  return writer;
}

// Blocks of whole rows, to be written again and again: all of a tensor anew would take minutes, and
// no kernel can tell. A norm's weights are 1, the others have mean 0 and a standard deviation of
// 0.9 / sqrt(columns).
std::vector<std::byte> random_blocks(const gguf::Tensor& tensor, std::mt19937& random) {
  constexpr int64_t kMostValues = 1 << 20;
  const int64_t columns = tensor.shape.front();
  const int64_t rows = std::clamp<int64_t>(kMostValues / columns, 1, tensor.rows());
  std::vector<float> values(static_cast<size_t>(rows * columns), 1.0f);
  if (tensor.shape.size() > 1) {
    std::normal_distribution<float> weight(0.0f, 0.9f / std::sqrt(static_cast<float>(columns)));
    for (float& value : values) value = weight(random);
  }
  std::vector<std::byte> blocks(quant::size_bytes(tensor.type, rows * columns));
  quant::quantize(tensor.type, values.data(), blocks.data(), rows * columns);
  return blocks;
}

// The head in place, the tensors holes.
MemoryFile make_file(const gguf::Writer& writer) {
  MemoryFile file(writer.size_bytes());
  file.write(0, writer.head());
  return file;
}

}  // namespace

std::span<const Shape> all_shapes() { return kShapes; }

const Shape* find_shape(std::string_view name) {
  const auto found = std::find_if(kShapes.begin(), kShapes.end(), [&](const Shape& shape) {
    return shape.name == name || shape.name.substr(0, shape.name.find(':')) == name;
  });
  return found == kShapes.end() ? nullptr : &*found;
}

gguf::File shape_file(const Shape& shape, std::string_view mix) {
  return gguf::File::open(make_file(declare(shape, convert::find_mix(mix))).path());
}

FilledShape::FilledShape(const Shape& shape, std::string_view mix,
                         const std::function<void(uint64_t, uint64_t)>& on_progress)
    : FilledShape(declare(shape, convert::find_mix(mix)), on_progress) {}

FilledShape::FilledShape(const gguf::Writer& writer,
                         const std::function<void(uint64_t, uint64_t)>& on_progress)
    : file_(make_file(writer)) {
  const gguf::File head = gguf::File::open(path());
  const std::vector<gguf::Writer::Place> places = writer.places();
  std::map<std::pair<quant::Type, std::vector<int64_t>>, std::vector<std::byte>> made;
  std::mt19937 random(1);
  for (size_t i = 0; i < places.size(); ++i) {
    const gguf::Tensor& tensor = head.tensors()[i];
    std::vector<std::byte>& blocks = made[{tensor.type, tensor.shape}];
    if (blocks.empty()) blocks = random_blocks(tensor, random);
    for (uint64_t at = 0; at < places[i].size_bytes; at += blocks.size()) {
      const uint64_t count = std::min<uint64_t>(blocks.size(), places[i].size_bytes - at);
      file_.write(places[i].offset + at, std::span(blocks).first(count));
    }
    on_progress(places[i].offset + places[i].size_bytes, writer.size_bytes());
  }
}

}  // namespace sluice::measure
