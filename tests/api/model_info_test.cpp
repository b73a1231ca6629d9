#include "api/model_info.h"

#include <gtest/gtest.h>

#include <array>

#include "gguf/writer.h"

namespace sluice::api {
namespace {

std::vector<std::byte> sample_file() {
  gguf::Writer writer;
  writer.set_string("general.architecture", "llama");
  writer.set_string("general.name", "hidden");
  writer.set_uint32("llama.context_length", 8192);
  writer.set_float32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  writer.set_bool("a.flag", true);
  writer.set_strings("tokenizer.ggml.tokens", {"a", "\xFF"});
  writer.set_float32s("tokenizer.ggml.scores", {0.1f, -1.0f});
  writer.set_int32s("tokenizer.ggml.token_type", {1, -3});
  writer.set_string("tokenizer.chat_template", "hidden");
  const std::array<float, 6> values = {};
  writer.add_tensor("token_embd.weight", quant::Type::kF32, {3, 2},
                    std::as_bytes(std::span(values)));
  return writer.bytes();
}

TEST(ModelInfo, ShowsSortedMetadataWithoutArrays) {
  const auto bytes = sample_file();
  const auto file = gguf::File::parse(bytes);
  EXPECT_EQ(dump_json(model_info(file, false)),
            R"({"a.flag":true,"general.architecture":"llama",)"
            R"("llama.attention.layer_norm_rms_epsilon":1e-05,"llama.context_length":8192,)"
            R"("tokenizer.ggml.scores":null,"tokenizer.ggml.token_type":null,)"
            R"("tokenizer.ggml.tokens":null,"general.parameter_count":6})");
}

TEST(ModelInfo, ShowsArraysWhenVerbose) {
  const auto bytes = sample_file();
  const Json info = model_info(gguf::File::parse(bytes), true);
  EXPECT_EQ(dump_json(info["tokenizer.ggml.scores"]), "[0.1,-1.0]");
  EXPECT_EQ(dump_json(info["tokenizer.ggml.token_type"]), "[1,-3]");
  EXPECT_EQ(dump_json(info["tokenizer.ggml.tokens"]), "[\"a\",\"\xEF\xBF\xBD\"]");
}

TEST(ModelInfo, ListsTensors) {
  const auto bytes = sample_file();
  EXPECT_EQ(dump_json(tensor_list(gguf::File::parse(bytes))),
            R"([{"name":"token_embd.weight","type":"F32","shape":[3,2]}])");
}

TEST(Capabilities, FollowFromMetadataAndTemplate) {
  const auto bytes = sample_file();
  const auto file = gguf::File::parse(bytes);
  using List = std::vector<std::string>;
  EXPECT_EQ(capabilities(file, {}), List{"completion"});
  EXPECT_EQ(capabilities(file, text::jinja_abilities("{% if tools %}")),
            (List{"completion", "tools"}));
  EXPECT_EQ(capabilities(file, text::jinja_abilities("<think></think> tool_call")),
            (List{"completion", "tools", "thinking"}));
  EXPECT_EQ(capabilities(file, text::go_abilities(text::GoTemplate("{{ .Prompt }}{{ .Suffix }}"))),
            (List{"completion", "insert"}));
  gguf::Writer filling;
  for (const char* name : {"fim_pre", "fim_suf", "fim_mid"}) {
    filling.set_uint32(std::string("tokenizer.ggml.") + name + "_token_id", 1);
  }
  const auto fills = filling.bytes();
  EXPECT_EQ(capabilities(gguf::File::parse(fills), {}), (List{"completion", "insert"}));
  EXPECT_FALSE(is_for_embeddings(file));
  gguf::Writer seeing;  // clients would send pictures, which are refused
  seeing.set_string("general.architecture", "gemma3");
  seeing.set_uint32("gemma3.vision.block_count", 27);
  const auto sees = seeing.bytes();
  EXPECT_EQ(capabilities(gguf::File::parse(sees), {}), List{"completion"});
  gguf::Writer writer;
  writer.set_string("general.architecture", "bert");
  writer.set_uint32("bert.pooling_type", 1);
  const auto bert = writer.bytes();
  EXPECT_EQ(capabilities(gguf::File::parse(bert), {}), List{"embedding"});
  EXPECT_TRUE(is_for_embeddings(gguf::File::parse(bert)));
}

TEST(ModelfileParameters, AreOneForEachValue) {
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(modelfile_parameters(parse_json(R"({"stop":["a","b\"c"],"temperature":0.5})")),
            (Pairs{{"stop", "a"}, {"stop", "b\"c"}, {"temperature", "0.5"}}));
}

}  // namespace
}  // namespace sluice::api
