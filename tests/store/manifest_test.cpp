#include "store/manifest.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace sluice::store {
namespace {

const std::string kHex(64, 'b');

std::string layer_text(const std::string& size = "12") {
  return R"({"mediaType":"application/vnd.ollama.image.model","digest":"sha256:)" + kHex +
         R"(","size":)" + size + "}";
}

TEST(Manifest, RoundTripsByteForByte) {
  const std::string text =
      R"({"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",)"
      R"("config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"sha256:)" +
      kHex + R"(","size":7},"layers":[)" + layer_text() + "]}\n";
  const Manifest manifest = parse_manifest(text);
  EXPECT_EQ(manifest.total_size_bytes(), 19u);
  ASSERT_NE(manifest.find_layer(kModelLayer), nullptr);
  EXPECT_EQ(manifest.find_layer(kModelLayer)->size_bytes, 12u);
  EXPECT_EQ(manifest.find_layer(kSystemLayer), nullptr);
  EXPECT_EQ(encode_manifest(manifest), text);
}

TEST(Manifest, IgnoresWhatItDoesNotKnow) {
  const Manifest manifest = parse_manifest(R"({"config":{"digest":"sha256:)" + kHex +
                                           R"(","size":1,"x":[{}]},"layers":null,"y":1})");
  EXPECT_TRUE(manifest.layers.empty());
}

TEST(Manifest, RefusesWhatIsBroken) {
  const std::string config = R"("config":)" + layer_text();
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  for (const std::string& text : {
           std::string(),
           std::string("null"),
           std::string("[]"),
           std::string("{"),
           std::string("{}"),
           std::string(R"({"config":null})"),
           std::string(R"({"config":[]})"),
           std::string(R"({"config":{"digest":"sha256:../../../etc/passwd","size":1}})"),
           std::string(R"({"config":{"digest":1,"size":1}})"),
           R"({"config":{"digest":"sha256-)" + kHex + R"(","size":1}})",
           R"({"config":)" + layer_text("-1") + "}",
           R"({"config":)" + layer_text("1.5") + "}",
           R"({"config":)" + layer_text("99999999999999999999") + "}",
           R"({"config":)" + layer_text("18446744073709551615") + "}",
           R"({"config":)" + layer_text("\"1\"") + "}",
           "{" + config + R"(,"layers":{}})",
           "{" + config + R"(,"layers":[1]})",
           "{" + config + R"(,"layers":[{}]})",
           deep,
           R"({"x":)" + deep + "}",
           std::string("\xFF\xFE{\0}\0", 6),
       }) {
    try {
      parse_manifest(text);
      ADD_FAILURE() << text.substr(0, 100);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruptData) << text.substr(0, 100);
    }
  }
}

TEST(Manifest, SumsSizesWithoutOverflow) {
  Manifest manifest;
  manifest.config.size_bytes = UINT64_MAX - 1;
  manifest.layers.resize(3);
  for (Layer& layer : manifest.layers) layer.size_bytes = UINT64_MAX / 2;
  EXPECT_EQ(manifest.total_size_bytes(), UINT64_MAX);
}

TEST(ModelConfig, RoundTripsAndEscapesAsGoDoes) {
  ModelConfig config;
  config.format = "gguf";
  config.family = "llama";
  config.families = {"llama"};
  config.parameter_size = "134.52M";
  config.quantization = "Q4_1";
  config.base_name = "a<b>&c";
  config.capabilities = {"tools"};
  config.context_length = 8192;
  const std::string text = encode_config(config);
  EXPECT_EQ(text, R"({"model_format":"gguf","model_family":"llama","model_families":["llama"],)"
                  R"("model_type":"134.52M","file_type":"Q4_1","capabilities":["tools"],)"
                  R"("context_length":8192,"base_name":"a\u003cb\u003e\u0026c",)"
                  R"("architecture":"amd64","os":"linux"})"
                  "\n");
  const ModelConfig back = parse_config(text);
  EXPECT_EQ(back.families, config.families);
  EXPECT_EQ(back.base_name, config.base_name);
  EXPECT_EQ(back.context_length, 8192u);
}

TEST(ModelConfig, AcceptsOldFilesAndRefusesWrongTypes) {
  const ModelConfig config = parse_config(
      R"({"model_format":"gguf","model_families":null,"rootfs":{"type":"layers","diff_ids":[]}})");
  EXPECT_EQ(config.format, "gguf");
  EXPECT_TRUE(config.families.empty());
  EXPECT_THROW(parse_config(R"({"model_family":3})"), Error);
  EXPECT_THROW(parse_config(R"({"model_families":"llama"})"), Error);
  EXPECT_THROW(parse_config("[]"), Error);
}

}  // namespace
}  // namespace sluice::store
