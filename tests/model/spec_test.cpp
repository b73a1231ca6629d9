#include "model/spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "gguf/writer.h"
#include "model/model.h"

namespace sluice::model {
namespace {

using testing::HasSubstr;

constexpr int kVocab = 40, kWidth = 32, kHeads = 4, kKvHeads = 2, kFeedForward = 64;

void add_tensor(gguf::Writer& writer, const std::string& name, std::vector<int64_t> shape) {
  size_t count = 1;
  for (const int64_t size : shape) count *= static_cast<size_t>(size);
  const std::vector<float> values(count, 0.5f);
  writer.add_tensor(name, quant::Type::kF32, shape, std::as_bytes(std::span(values)));
}

void add_metadata(gguf::Writer& writer) {
  writer.set_string("general.architecture", "llama");
  writer.set_uint32("llama.block_count", 1);
  writer.set_uint32("llama.context_length", 128);
  writer.set_uint32("llama.embedding_length", kWidth);
  writer.set_uint32("llama.feed_forward_length", kFeedForward);
  writer.set_uint32("llama.attention.head_count", kHeads);
  writer.set_uint32("llama.attention.head_count_kv", kKvHeads);
  writer.set_float32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  writer.set_float32("llama.rope.freq_base", 10000.0f);
}

std::vector<std::pair<std::string, std::vector<int64_t>>> tensor_shapes() {
  const int64_t kv_width = kWidth / kHeads * kKvHeads;
  return {{"token_embd.weight", {kWidth, kVocab}},
          {"output_norm.weight", {kWidth}},
          {"blk.0.attn_norm.weight", {kWidth}},
          {"blk.0.attn_q.weight", {kWidth, kWidth}},
          {"blk.0.attn_k.weight", {kWidth, kv_width}},
          {"blk.0.attn_v.weight", {kWidth, kv_width}},
          {"blk.0.attn_output.weight", {kWidth, kWidth}},
          {"blk.0.ffn_norm.weight", {kWidth}},
          {"blk.0.ffn_gate.weight", {kWidth, kFeedForward}},
          {"blk.0.ffn_up.weight", {kWidth, kFeedForward}},
          {"blk.0.ffn_down.weight", {kFeedForward, kWidth}}};
}

// A small llama file in which one metadata value is replaced or left out.
using MetadataEdit = std::function<void(gguf::Writer&)>;
std::vector<std::byte> make_file(const std::string& replaced_key, const MetadataEdit& edit) {
  gguf::Writer complete;
  add_metadata(complete);
  const std::vector<std::byte> bytes = complete.bytes();
  const gguf::File file = gguf::File::parse(bytes);
  gguf::Writer writer;
  for (const auto& [key, value] : file.metadata()) {
    if (key != replaced_key) writer.copy(std::string(key), value);
  }
  edit(writer);
  for (const auto& [name, shape] : tensor_shapes()) add_tensor(writer, name, shape);
  return writer.bytes();
}

std::string spec_error(const std::vector<std::byte>& bytes) {
  try {
    const gguf::File file = gguf::File::parse(bytes);
    build_program(read_spec(file), file);
    return "no error";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(ModelSpec, ReadsLlama) {
  const auto bytes = make_file("", [](gguf::Writer&) {});
  const gguf::File file = gguf::File::parse(bytes);
  const ModelSpec spec = read_spec(file);
  EXPECT_EQ(spec.num_layers, 1);
  EXPECT_EQ(spec.head_dim, kWidth / kHeads);
  EXPECT_EQ(spec.vocab_size, kVocab);
  EXPECT_TRUE(spec.rope.is_interleaved);
  EXPECT_FALSE(spec.has_qkv_bias);
  const backend::Program program = build_program(spec, file);
  EXPECT_EQ(program.buffers[static_cast<size_t>(program.logits)].width, kVocab);
}

TEST(ModelSpec, ReadsHowTextsArePooled) {
  const auto pooling_of = [](const MetadataEdit& edit) {
    const auto bytes = make_file("", edit);
    return read_spec(gguf::File::parse(bytes)).pooling;
  };
  const auto with = [&](uint32_t type) {
    return pooling_of([=](gguf::Writer& writer) { writer.set_uint32("llama.pooling_type", type); });
  };
  EXPECT_EQ(pooling_of([](gguf::Writer&) {}), PoolingType::kNone);
  EXPECT_EQ(with(1), PoolingType::kMean);
  EXPECT_EQ(with(2), PoolingType::kFirst);
  EXPECT_EQ(with(3), PoolingType::kLast);
}

TEST(ModelSpec, NamesAnArchitectureItDoesNotKnow) {
  EXPECT_THAT(spec_error(make_file("general.architecture",
                                   [](gguf::Writer& writer) {
                                     writer.set_string("general.architecture", "mamba");
                                   })),
              HasSubstr("'mamba' is not supported (known: llama, qwen2, qwen3, gemma3)"));
}

struct BadValue {
  std::string key;
  MetadataEdit edit;
};

TEST(ModelSpec, RefusesBadHyperParametersAndNamesTheKey) {
  const auto set_uint = [](const std::string& key, uint32_t value) {
    return BadValue{key, [=](gguf::Writer& writer) { writer.set_uint32(key, value); }};
  };
  const auto set_float = [](const std::string& key, float value) {
    return BadValue{key, [=](gguf::Writer& writer) { writer.set_float32(key, value); }};
  };
  const std::string eps = "llama.attention.layer_norm_rms_epsilon";
  const std::vector<BadValue> cases = {
      set_uint("llama.block_count", 0),
      set_uint("llama.block_count", 1'000'000),
      set_uint("llama.context_length", 0),
      set_uint("llama.context_length", 0xFFFFFFFFu),
      set_uint("llama.embedding_length", 1u << 31),
      set_uint("llama.attention.head_count", 0),
      set_uint("llama.attention.head_count_kv", 0),
      set_uint("llama.attention.head_count_kv", kHeads + 1),
      set_uint("llama.rope.dimension_count", 0),
      set_uint("llama.rope.dimension_count", 1000),
      set_uint("llama.feed_forward_length", 0),
      set_uint("llama.pooling_type", 5),
      set_float(eps, 0.0f),
      set_float(eps, std::numeric_limits<float>::quiet_NaN()),
      set_float(eps, std::numeric_limits<float>::infinity()),
      set_float("llama.rope.freq_base", 0.0f),
      set_float("llama.rope.freq_base", std::numeric_limits<float>::quiet_NaN()),
      {"llama.block_count",
       [](gguf::Writer& writer) { writer.set_string("llama.block_count", "one"); }},
      {"llama.attention.head_count", [](gguf::Writer&) {}},
  };
  for (const BadValue& bad : cases) {
    EXPECT_THAT(spec_error(make_file(bad.key, bad.edit)), HasSubstr(bad.key));
  }
}

TEST(ModelSpec, RefusesHeadsThatDoNotDivide) {
  const auto three_kv_heads = [](gguf::Writer& writer) {
    writer.set_uint32("llama.attention.head_count_kv", 3);
  };
  EXPECT_THAT(spec_error(make_file("llama.attention.head_count_kv", three_kv_heads)),
              HasSubstr("multiple"));
}

TEST(ModelSpec, RefusesOddRotation) {
  const auto seven = [](gguf::Writer& writer) {
    writer.set_uint32("llama.rope.dimension_count", 7);
  };
  EXPECT_THAT(spec_error(make_file("", seven)), HasSubstr("odd"));
}

TEST(ModelSpec, NamesRopeScalingItDoesNotKnow) {
  const auto longrope = [](gguf::Writer& writer) {
    writer.set_string("llama.rope.scaling.type", "longrope");
  };
  EXPECT_THAT(spec_error(make_file("", longrope)), HasSubstr("'longrope' is not supported"));
}

TEST(ModelSpec, ReadsYarn) {
  const auto yarn = [](gguf::Writer& writer) {
    writer.set_string("llama.rope.scaling.type", "yarn");
    writer.set_float32("llama.rope.scaling.factor", 4.0f);
    writer.set_uint32("llama.rope.scaling.original_context_length", 32);
  };
  const auto bytes = make_file("", yarn);
  const ModelSpec spec = read_spec(gguf::File::parse(bytes));
  // Of four waves the first turns 5 times within 32 tokens, the last not once.
  ASSERT_EQ(spec.rope.freq_divisors.size(), 4u);
  EXPECT_EQ(spec.rope.freq_divisors.front(), 1.0f);
  EXPECT_EQ(spec.rope.freq_divisors.back(), 4.0f);
  EXPECT_FLOAT_EQ(spec.rope.magnitude, 1.0f + 0.1f * std::log(4.0f));
  EXPECT_FLOAT_EQ(spec.attention_scale,
                  spec.rope.magnitude * spec.rope.magnitude / std::sqrt(8.0f));
}

TEST(ModelSpec, RefusesYarnThatCannotBe) {
  const auto with = [](const std::string& key, const MetadataEdit& edit) {
    return spec_error(make_file(key, [&](gguf::Writer& writer) {
      writer.set_string("llama.rope.scaling.type", "yarn");
      if (key != "llama.rope.scaling.factor") {
        writer.set_float32("llama.rope.scaling.factor", 4.0f);
      }
      edit(writer);
    }));
  };
  EXPECT_THAT(with("llama.rope.scaling.factor", [](gguf::Writer&) {}),
              HasSubstr("rope.scaling.factor is missing"));
  EXPECT_THAT(with("llama.rope.freq_base",
                   [](gguf::Writer& writer) { writer.set_float32("llama.rope.freq_base", 1.0f); }),
              HasSubstr("rope.freq_base must be larger than 1"));
  EXPECT_THAT(
      with("llama.rope.dimension_count",
           [](gguf::Writer& writer) { writer.set_uint32("llama.rope.dimension_count", 4); }),
      HasSubstr("a part of a head"));
}

TEST(ModelSpec, RefusesAVocabularyThatDoesNotFitTheEmbedding) {
  const auto two_tokens = [](gguf::Writer& writer) {
    writer.set_strings("tokenizer.ggml.tokens", {"a", "b"});
  };
  EXPECT_THAT(spec_error(make_file("", two_tokens)), HasSubstr("2 tokens"));
}

// What Ollama's own files of Gemma 3 have: no norm epsilon, other names, tensors and tokens of
// images.
gguf::Writer ollamas_gemma3(uint32_t context_length, bool has_own_names) {
  gguf::Writer writer;
  writer.set_string("general.architecture", "gemma3");
  writer.set_uint32("gemma3.block_count", 1);
  writer.set_uint32("gemma3.context_length", context_length);
  writer.set_uint32("gemma3.embedding_length", kWidth);
  writer.set_uint32("gemma3.feed_forward_length", kFeedForward);
  writer.set_uint32("gemma3.attention.head_count", kHeads);
  writer.set_uint32("gemma3.attention.head_count_kv", kKvHeads);
  writer.set_uint32("gemma3.mm.tokens_per_image", 256);
  if (has_own_names) writer.set_float32("gemma3.rope.global.freq_base", 5e5f);
  if (has_own_names) writer.set_float32("gemma3.rope.local.freq_base", 5e3f);
  writer.set_strings("tokenizer.ggml.tokens", std::vector<std::string>(kVocab + 3, "x"));
  for (const auto& [name, shape] : tensor_shapes()) add_tensor(writer, name, shape);
  for (const char* name : {"blk.0.attn_q_norm.weight", "blk.0.attn_k_norm.weight"}) {
    add_tensor(writer, name, {kWidth / kHeads});
  }
  for (const char* name : {"blk.0.post_attention_norm.weight", "blk.0.post_ffw_norm.weight"}) {
    add_tensor(writer, name, {kWidth});
  }
  add_tensor(writer, "v.patch_embedding.weight", {kWidth, 4});
  add_tensor(writer, "mm.mm_input_projection.weight", {kWidth, 4});
  return writer;
}

TEST(ModelSpec, ReadsOllamasFilesOfGemma3) {
  const auto spec_of = [](uint32_t context_length, bool has_own_names) {
    const auto bytes = ollamas_gemma3(context_length, has_own_names).bytes();
    const gguf::File file = gguf::File::parse(bytes);
    ModelSpec spec = read_spec(file);
    build_program(spec, file);
    return spec;
  };
  ModelSpec spec = spec_of(131'072, false);
  EXPECT_FLOAT_EQ(spec.norm_eps, 1e-6f);
  EXPECT_FLOAT_EQ(spec.rope.freq_base, 1e6f);
  EXPECT_FLOAT_EQ(spec.rope.freq_scale, 1.0f / 8);
  ASSERT_TRUE(spec.local_rope);
  EXPECT_FLOAT_EQ(spec.local_rope->freq_base, 1e4f);
  EXPECT_FLOAT_EQ(spec.local_rope->freq_scale, 1.0f);
  EXPECT_EQ(spec.vocab_size, kVocab);
  spec = spec_of(32'768, true);
  EXPECT_FLOAT_EQ(spec.rope.freq_base, 5e5f);
  EXPECT_FLOAT_EQ(spec.rope.freq_scale, 1.0f);
  EXPECT_FLOAT_EQ(spec.local_rope->freq_base, 5e3f);

  gguf::Writer embeddings = ollamas_gemma3(2048, false);
  add_tensor(embeddings, "dense.0.weight", {kWidth, 4});
  EXPECT_THAT(spec_error(embeddings.bytes()), HasSubstr("EmbeddingGemma is not supported"));
}

TEST(Program, NamesATensorThatIsMissingOrHasTheWrongShape) {
  for (const auto& [broken, unused] : tensor_shapes()) {
    for (const bool is_missing : {true, false}) {
      gguf::Writer writer;
      add_metadata(writer);
      for (const auto& [name, shape] : tensor_shapes()) {
        if (name != broken) {
          add_tensor(writer, name, shape);
        } else if (!is_missing) {
          add_tensor(writer, name, {shape[0] + 8, 3});
        }
      }
      EXPECT_THAT(spec_error(writer.bytes()), HasSubstr(broken)) << (is_missing ? "missing" : "");
    }
  }
}

}  // namespace
}  // namespace sluice::model
