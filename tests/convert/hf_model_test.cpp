#include "convert/hf_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/error.h"
#include "convert/hf_files.h"
#include "gguf/file.h"
#include "test_data.h"

namespace sluice::convert {
namespace {

using testing::HasSubstr;

gguf::File golden(const std::string& name) {
  return gguf::File::open(test_data("fidelity/golden/tiny_") + name + ".gguf");
}

std::vector<float> values_of(const gguf::Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.num_elements()));
  quant::dequantize(tensor.type, tensor.data.read().data(), values.data(), tensor.num_elements());
  return values;
}

// The name that transformers gives a tensor.
std::string hf_name(const std::string& name, bool is_gemma) {
  if (name == "token_embd.weight") return "model.embed_tokens.weight";
  if (name == "output_norm.weight") return "model.norm.weight";
  if (name == "output.weight") return "lm_head.weight";
  std::map<std::string, std::string> stems = {
      {"attn_q", "self_attn.q_proj"},
      {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"},
      {"attn_output", "self_attn.o_proj"},
      {"attn_q_norm", "self_attn.q_norm"},
      {"attn_k_norm", "self_attn.k_norm"},
      {"ffn_gate", "mlp.gate_proj"},
      {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"},
      {"attn_norm", "input_layernorm"},
      {"ffn_norm", is_gemma ? "pre_feedforward_layernorm" : "post_attention_layernorm"},
      {"post_attention_norm", "post_attention_layernorm"},
      {"post_ffw_norm", "post_feedforward_layernorm"}};
  const size_t layer_end = name.find('.', 4);
  const size_t kind = name.rfind('.');
  return "model.layers." + name.substr(4, layer_end - 4) + "." +
         stems.at(name.substr(layer_end + 1, kind - layer_end - 1)) + name.substr(kind);
}

// [heads, pairs, 2, columns] becomes [heads, 2, pairs, columns].
std::vector<float> split_pairs(const std::vector<float>& values, size_t heads, size_t rows) {
  const size_t columns = values.size() / rows;
  const size_t pairs = rows / heads / 2;
  std::vector<float> result(values.size());
  for (size_t head = 0; head < heads; ++head) {
    for (size_t pair = 0; pair < pairs; ++pair) {
      for (size_t half = 0; half < 2; ++half) {
        for (size_t c = 0; c < columns; ++c) {
          result[((head * 2 + half) * pairs + pair) * columns + c] =
              values[((head * pairs + pair) * 2 + half) * columns + c];
        }
      }
    }
  }
  return result;
}

// A golden model (whose logits transformers has computed) as transformers would save it.
std::vector<HfTensor> hf_tensors(const gguf::File& file) {
  const bool is_gemma = file.get_string("general.architecture") == "gemma3";
  const bool is_llama = file.get_string("general.architecture") == "llama";
  std::vector<HfTensor> tensors;
  for (const gguf::Tensor& tensor : file.tensors()) {
    const std::string name(tensor.name);
    if (name == "rope_freqs.weight") continue;
    std::vector<float> values = values_of(tensor);
    const auto rows = static_cast<size_t>(tensor.shape.back());
    if (is_llama && name.find("attn_q.") != std::string::npos)
      values = split_pairs(values, 4, rows);
    if (is_llama && name.find("attn_k.") != std::string::npos)
      values = split_pairs(values, 2, rows);
    if (is_gemma && name.ends_with("norm.weight")) {
      for (float& value : values) value -= 1.0f;
    }
    tensors.push_back(
        {hf_name(name, is_gemma), {tensor.shape.rbegin(), tensor.shape.rend()}, std::move(values)});
  }
  return tensors;
}

// Mistral's layers are Llama's.
std::string weights_of(const std::string& name) { return name == "mistral" ? "llama31" : name; }

constexpr const char* kCommon =
    R"("vocab_size":96,"hidden_size":32,"num_attention_heads":4,"num_key_value_heads":2,)"
    R"("max_position_embeddings":256,"rms_norm_eps":1e-06,)";

std::string config_of(const std::string& name) {
  if (name == "qwen2") {
    return std::string(R"({"architectures":["Qwen2ForCausalLM"],)") + kCommon +
           R"("num_hidden_layers":2,"intermediate_size":48,"rope_theta":5000.0,)"
           R"("tie_word_embeddings":true,"use_sliding_window":false,"eos_token_id":[3,4]})";
  }
  if (name == "qwen3") {
    return std::string(R"({"architectures":["Qwen3ForCausalLM"],)") + kCommon +
           R"("num_hidden_layers":2,"intermediate_size":48,"head_dim":16,"rope_theta":5000.0,)"
           R"("rope_scaling":{"rope_type":"yarn","factor":4.0,)"
           R"("original_max_position_embeddings":64},"tie_word_embeddings":false})";
  }
  if (weights_of(name) == "llama31") {
    return std::string(name == "mistral"
                           ? R"({"architectures":["MistralForCausalLM"],"sliding_window":null,)"
                           : R"({"architectures":["LlamaForCausalLM"],)") +
           kCommon +
           R"("num_hidden_layers":2,"intermediate_size":48,"rope_theta":5000.0,"rope_scaling":)"
           R"({"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,)"
           R"("original_max_position_embeddings":64},"tie_word_embeddings":false})";
  }
  return std::string(R"({"architectures":["Gemma3ForCausalLM"],)") + kCommon +
         R"("num_hidden_layers":7,"intermediate_size":24,"head_dim":8,"sliding_window":16,)"
         R"("rope_parameters":{"full_attention":{"rope_theta":1000000.0,"rope_type":"default"},)"
         R"("sliding_attention":{"rope_theta":10000.0,"rope_type":"default"}}})";
}

constexpr const char* kTokenizer =
    R"({"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]},"pre_tokenizer":)"
    R"({"type":"ByteLevel"},"added_tokens":[{"id":3,"content":"<|end|>","special":true},)"
    R"({"id":4,"content":"<|turn|>","special":true},{"id":5,"content":"<tool>","special":false}]})";

class HfModel : public testing::Test {
 protected:
  void lay_out(const std::string& name) {
    folder_.write("config.json", config_of(name));
    folder_.write("tokenizer.json", kTokenizer);
    folder_.write("model.safetensors", safetensors_of(hf_tensors(golden(weights_of(name)))));
  }
  gguf::File convert(const HfOptions& options = {}) {
    store::TemporaryFile out(folder_.path);
    convert_hf(list_model_files(folder_.path), out, options);
    out.commit(folder_.path + "/out.gguf");
    return gguf::File::open(folder_.path + "/out.gguf");
  }
  std::string refusal() {
    try {
      convert();
      return "nothing was thrown";
    } catch (const Error& error) {
      return error.what();
    }
  }
  TemporaryFolder folder_;
};

class EachFamily : public HfModel, public testing::WithParamInterface<const char*> {};

TEST_P(EachFamily, GivesTheModelWhoseLogitsTransformersHasComputed) {
  lay_out(GetParam());
  const gguf::File expected = golden(weights_of(GetParam()));
  const gguf::File converted = convert();
  const std::string prefix = std::string(*expected.get_string("general.architecture")) + ".";
  for (const auto& [key, value] : expected.metadata()) {
    const std::string name(key);
    if (!name.starts_with(prefix)) continue;
    if (const auto* number = std::get_if<double>(&value)) {
      EXPECT_FLOAT_EQ(static_cast<float>(converted.get_float(name).value_or(-1)),
                      static_cast<float>(*number))
          << name;
    } else if (std::holds_alternative<std::string_view>(value)) {
      EXPECT_EQ(converted.get_string(name), expected.get_string(name)) << name;
    } else if (!std::holds_alternative<gguf::Array>(value)) {
      EXPECT_EQ(converted.get_uint(name), expected.get_uint(name)) << name;
    }
  }
  ASSERT_EQ(converted.tensors().size(), expected.tensors().size());
  for (const gguf::Tensor& tensor : expected.tensors()) {
    const gguf::Tensor* found = converted.find_tensor(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_EQ(found->shape, tensor.shape) << tensor.name;
    const std::vector<float> want = values_of(tensor), have = values_of(*found);
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(have[i], want[i], 1e-6 * (1.0f + std::fabs(want[i]))) << tensor.name << " " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Convert, EachFamily,
                         testing::Values("qwen2", "qwen3", "llama31", "mistral", "gemma3"));

TEST_F(HfModel, TakesTheVocabularyAndWhatEndsAReply) {
  lay_out("qwen2");
  folder_.write(
      "tokenizer_config.json",
      R"({"chat_template":"{{ x }}","eos_token":{"content":"<|end|>"},"add_bos_token":false})");
  const gguf::File file = convert();
  const auto& tokens = *file.get_strings("tokenizer.ggml.tokens");
  ASSERT_EQ(tokens.size(), 96u);
  EXPECT_EQ(tokens[2], "ab");
  EXPECT_EQ(tokens[4], "<|turn|>");
  EXPECT_EQ(tokens[95], "[PAD95]");
  const auto types = *file.get_ints("tokenizer.ggml.token_type");
  EXPECT_EQ((std::vector<int64_t>{types[0], types[3], types[5], types[95]}),
            (std::vector<int64_t>{1, 3, 4, 5}));
  EXPECT_EQ(file.get_strings("tokenizer.ggml.merges")->at(0), "a b");
  EXPECT_EQ(file.get_string("tokenizer.ggml.pre"), "gpt-2");
  EXPECT_EQ(file.get_uint("tokenizer.ggml.eos_token_id"), 3u);
  EXPECT_EQ(file.get_uint("tokenizer.ggml.eot_token_id"), 4u);
  EXPECT_EQ(file.get_bool("tokenizer.ggml.add_bos_token"), false);
  EXPECT_EQ(file.get_string("tokenizer.chat_template"), "{{ x }}");
}

TEST_F(HfModel, QuantizesOnTheWay) {
  lay_out("llama31");
  const Mix& mix = find_mix("q8_0");
  HfOptions options;
  options.mix = &mix;
  options.name = "tiny";
  const gguf::File file = convert(options);
  EXPECT_EQ(file.find_tensor("blk.0.attn_q.weight")->type, quant::Type::kQ8_0);
  EXPECT_EQ(file.find_tensor("blk.0.attn_norm.weight")->type, quant::Type::kF32);
  EXPECT_EQ(file.get_uint("general.file_type"), 7u);
  EXPECT_EQ(file.get_string("general.name"), "tiny");
}

TEST_F(HfModel, KeepsWhatYarnWasTold) {
  lay_out("qwen3");
  std::string config = config_of("qwen3");
  const std::string factor = R"("factor":4.0,)";
  config.replace(config.find(factor), factor.size(),
                 factor + R"("beta_fast":16.0,"beta_slow":2.0,"attention_factor":1.0,)");
  folder_.write("config.json", config);
  const gguf::File converted = convert();
  EXPECT_EQ(converted.get_float("qwen3.rope.scaling.yarn_beta_fast"), 16.0f);
  EXPECT_EQ(converted.get_float("qwen3.rope.scaling.yarn_beta_slow"), 2.0f);
  const double own = 0.1 * std::log(4.0) + 1.0;
  EXPECT_NEAR(*converted.get_float("qwen3.rope.scaling.attn_factor"), 1.0 / own, 1e-6);
}

TEST_F(HfModel, NamesWhatItCannotConvert) {
  lay_out("qwen2");
  const std::string config = config_of("qwen2");
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = config;
    changed.replace(changed.find(from), from.size(), to);
    folder_.write("config.json", changed);
    return refusal();
  };
  EXPECT_THAT(with("Qwen2ForCausalLM", "MambaForCausalLM"), HasSubstr("'MambaForCausalLM'"));
  EXPECT_THAT(with("\"use_sliding_window\":false", "\"use_sliding_window\":true"),
              HasSubstr("use_sliding_window"));
  const auto scaled = [&](const std::string& scaling) {
    return with("\"use_sliding_window\":false", "\"rope_scaling\":{" + scaling + "}");
  };
  EXPECT_THAT(scaled(R"("type":"longrope")"), HasSubstr("rope scaling 'longrope'"));
  EXPECT_THAT(scaled(R"("type":"yarn")"), HasSubstr("factor must be a positive number"));
  EXPECT_THAT(scaled(R"("type":"yarn","factor":4.0,"mscale":1.0)"), HasSubstr("mscale"));
  EXPECT_THAT(with("\"hidden_size\":32", "\"hidden_size\":\"32\""),
              HasSubstr("hidden_size must be a whole number"));
  EXPECT_THAT(with("\"hidden_size\":32", "\"hidden_size\":1e99"), HasSubstr("hidden_size"));
  EXPECT_THAT(with("\"num_hidden_layers\":2", "\"num_hidden_layers\":1"),
              HasSubstr("model.layers.1."));
  folder_.write("config.json", "{");
  EXPECT_THAT(refusal(), HasSubstr("config.json is no JSON"));
  std::filesystem::remove(folder_.path + "/config.json");
  EXPECT_THAT(refusal(), HasSubstr("config.json is missing"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path + "/out.gguf"));
}

}  // namespace
}  // namespace sluice::convert
