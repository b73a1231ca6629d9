#include "convert/mix.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/error.h"

namespace sluice::convert {
namespace {

using quant::Type;

// A model of Llama's make, every matrix `columns` wide.
std::vector<TensorFacts> llama(int num_layers, int64_t columns, bool has_output = true) {
  std::vector<TensorFacts> tensors = {{"token_embd.weight", {columns, 1000}},
                                      {"output_norm.weight", {columns}}};
  if (has_output) tensors.push_back({"output.weight", {columns, 1000}});
  for (int layer = 0; layer < num_layers; ++layer) {
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up",
                             "ffn_down", "attn_q_norm"}) {
      tensors.push_back({prefix + name + ".weight", {columns, columns}});
    }
    tensors.push_back({prefix + "attn_norm.weight", {columns}});
    tensors.push_back({prefix + "attn_q.bias", {columns}});
  }
  return tensors;
}

std::map<std::string, Type> types_of(std::string_view mix, const std::vector<TensorFacts>& tensors,
                                     const ModelFacts& model = {}) {
  const std::vector<Type> types = choose_types(find_mix(mix), model, tensors);
  std::map<std::string, Type> by_name;
  for (size_t i = 0; i < tensors.size(); ++i) by_name[tensors[i].name] = types[i];
  return by_name;
}

std::set<int> layers_of_type(const std::map<std::string, Type>& types, const std::string& name,
                             Type type) {
  std::set<int> layers;
  for (int layer = 0; types.contains("blk." + std::to_string(layer) + "." + name); ++layer) {
    if (types.at("blk." + std::to_string(layer) + "." + name) == type) layers.insert(layer);
  }
  return layers;
}

TEST(Mix, IsFoundByNameWithoutRegardToCase) {
  EXPECT_EQ(find_mix("Q4_K_M").file_type, 15u);
  EXPECT_EQ(find_mix("q4_k").name, "q4_K_M");
  EXPECT_EQ(find_mix("q5_K").name, "q5_K_M");
  EXPECT_EQ(find_mix("F16").type, Type::kF16);
  try {
    find_mix("q3_K_XL\n");
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_NE(std::string(error.what()).find("'q3_K_XL\\n'; there are q4_0, q4_K_S"),
              std::string::npos)
        << error.what();
  }
}

// As llama-quantize prints for a Llama of 32 layers.
TEST(Mix, MediumGivesTheEdgesAndEveryThirdLayerMoreBits) {
  const std::set<int> expected = {0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31};
  for (const char* mix : {"q4_K_M", "q5_K_M"}) {
    const auto types = types_of(mix, llama(32, 4096));
    EXPECT_EQ(layers_of_type(types, "attn_v.weight", Type::kQ6_K), expected);
    EXPECT_EQ(layers_of_type(types, "ffn_down.weight", Type::kQ6_K), expected);
    EXPECT_EQ(types.at("blk.0.attn_q.weight"), find_mix(mix).type);
    EXPECT_EQ(types.at("output.weight"), Type::kQ6_K);
    EXPECT_EQ(types.at("token_embd.weight"), find_mix(mix).type);
  }
}

TEST(Mix, SmallGivesTheFirstLayersFiveBits) {
  const auto types = types_of("q4_K_S", llama(32, 4096));
  EXPECT_EQ(layers_of_type(types, "attn_v.weight", Type::kQ5_K), (std::set<int>{0, 1, 2, 3}));
  EXPECT_EQ(layers_of_type(types, "ffn_down.weight", Type::kQ5_K), (std::set<int>{0, 1, 2, 3}));
  EXPECT_EQ(types.at("blk.4.ffn_down.weight"), Type::kQ4_K);
  EXPECT_EQ(layers_of_type(types_of("q5_K_S", llama(8, 256)), "attn_v.weight", Type::kQ5_K).size(),
            8u);
}

TEST(Mix, KeepsNormsBiasesAndRoutersAsTheyAre) {
  auto tensors = llama(4, 256);
  tensors.push_back({"blk.0.ffn_gate_inp.weight", {256, 8}});
  for (const Mix& mix : all_mixes()) {
    const auto types = types_of(mix.name, tensors);
    for (const char* name : {"output_norm.weight", "blk.0.attn_norm.weight", "blk.0.attn_q.bias",
                             "blk.0.attn_q_norm.weight", "blk.0.ffn_gate_inp.weight"}) {
      EXPECT_EQ(types.at(name), Type::kF32) << name << " in " << mix.name;
    }
  }
}

TEST(Mix, TakesTheEmbeddingForTheOutputWhereThereIsNone) {
  EXPECT_EQ(types_of("q4_0", llama(4, 256, false)).at("token_embd.weight"), Type::kQ6_K);
  EXPECT_EQ(types_of("q8_0", llama(4, 256, false)).at("token_embd.weight"), Type::kQ8_0);
  EXPECT_EQ(types_of("q4_0", llama(4, 256)).at("token_embd.weight"), Type::kQ4_0);
  EXPECT_EQ(types_of("f16", llama(4, 256, false)).at("token_embd.weight"), Type::kF16);
}

TEST(Mix, FallsBackWhereRowsAreNoWholeBlocks) {
  const auto types = types_of("q4_K_M", llama(30, 576));
  EXPECT_EQ(types.at("blk.0.attn_q.weight"), Type::kQ5_0);
  EXPECT_EQ(types.at("blk.0.attn_v.weight"), Type::kQ8_0);  // Q6_K otherwise
  EXPECT_EQ(types.at("output.weight"), Type::kQ8_0);
  EXPECT_EQ(types_of("q5_K_S", llama(30, 576)).at("blk.0.attn_q.weight"), Type::kQ5_1);
  EXPECT_EQ(types_of("q6_K", llama(30, 576)).at("blk.0.attn_q.weight"), Type::kQ8_0);
  EXPECT_EQ(types_of("q4_0", llama(2, 100)).at("blk.0.attn_q.weight"), Type::kF16);
}

TEST(Mix, GivesMoreWhereItCostsLittle) {
  const auto big = types_of("q4_K_S", llama(80, 256), {80, 0, true});
  EXPECT_EQ(layers_of_type(big, "attn_v.weight", Type::kQ5_K).size(), 80u);
  const auto experts = types_of("q4_K_M", llama(32, 256), {32, 8, true});
  EXPECT_EQ(experts.at("blk.5.attn_v.weight"), Type::kQ8_0);
  EXPECT_EQ(experts.at("blk.5.attn_k.weight"), Type::kQ8_0);
  EXPECT_EQ(experts.at("blk.5.attn_output.weight"), Type::kQ5_K);
}

}  // namespace
}  // namespace sluice::convert
