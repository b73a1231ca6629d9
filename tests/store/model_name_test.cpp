#include "store/model_name.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace sluice::store {
namespace {

TEST(ModelName, FillsInTheDefaults) {
  const ModelName name = ModelName::parse("smollm2");
  EXPECT_EQ(name.full_name(), "registry.ollama.ai/library/smollm2:latest");
  EXPECT_EQ(name.short_name(), "smollm2:latest");
  EXPECT_EQ(name.relative_path(), "registry.ollama.ai/library/smollm2/latest");
}

TEST(ModelName, ReadsEveryPart) {
  struct Case {
    const char* text;
    const char* full;
    const char* shortened;
  };
  for (const Case& item : {
           Case{"smollm2:135m", "registry.ollama.ai/library/smollm2:135m", "smollm2:135m"},
           Case{"me/x", "registry.ollama.ai/me/x:latest", "me/x:latest"},
           Case{"me/x:q4", "registry.ollama.ai/me/x:q4", "me/x:q4"},
           Case{"hub.example:5000/me/x:q4", "hub.example:5000/me/x:q4", "hub.example:5000/me/x:q4"},
           Case{"hub.example:5000/me/x", "hub.example:5000/me/x:latest",
                "hub.example:5000/me/x:latest"},
           Case{"http://localhost:5000/me/x:1", "localhost:5000/me/x:1", "localhost:5000/me/x:1"},
           Case{"registry.ollama.ai/library/x:latest", "registry.ollama.ai/library/x:latest",
                "x:latest"},
           Case{"Registry.Ollama.AI/Library/x", "Registry.Ollama.AI/Library/x:latest", "x:latest"},
           Case{"hf.co/user/Model-1.5-GGUF:Q4_K_M", "hf.co/user/Model-1.5-GGUF:Q4_K_M",
                "hf.co/user/Model-1.5-GGUF:Q4_K_M"},
           Case{"_a", "registry.ollama.ai/library/_a:latest", "_a:latest"},
       }) {
    const ModelName name = ModelName::parse(item.text);
    EXPECT_EQ(name.full_name(), item.full) << item.text;
    EXPECT_EQ(name.short_name(), item.shortened) << item.text;
    EXPECT_EQ(ModelName::parse(name.short_name()).short_name(), item.shortened);
  }
  EXPECT_EQ(ModelName::parse("http://localhost:5000/me/x:1").scheme, "http");
}

TEST(ModelName, RefusesWhatIsNoName) {
  const std::string long_part(81, 'a');
  for (const std::string& text : {
           std::string(""),
           std::string("."),
           std::string(".."),
           std::string("../x"),
           std::string("../../etc/passwd"),
           std::string("a/../b"),
           std::string("a/b/../c"),
           std::string("/x"),
           std::string("//x"),
           std::string("x/"),
           std::string("x:"),
           std::string(":x"),
           std::string("a//b"),
           std::string("a/b/c/d"),
           std::string("x:a:b"),
           std::string("x:a/b"),
           std::string("my.space/x"),
           std::string("-x"),
           std::string(".x"),
           std::string("x y"),
           std::string("x\n"),
           std::string("x\0y", 3),
           std::string("x%2e"),
           std::string("x\\y"),
           std::string("\xC3\xA4"),
           std::string("ftp://host/me/x"),
           std::string("://host/me/x"),
           std::string("http://x"),
           "x@sha256:" + std::string(64, 'a'),
           long_part,
           "x:" + long_part,
           long_part + "/x",
           std::string(351, 'a') + "/b/c",
           std::string(100'000, 'a'),
           std::string(100'000, '/'),
       }) {
    EXPECT_FALSE(ModelName::try_parse(text)) << text;
  }
  try {
    ModelName::parse("../x");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_STREQ(error.what(), "invalid model name");
  }
}

TEST(ModelName, AcceptsTheLongestParts) {
  const std::string part(80, 'a');
  EXPECT_TRUE(ModelName::try_parse(std::string(350, 'h') + "/" + part + "/" + part + ":" + part));
}

TEST(ModelName, ComparesWithoutCase) {
  EXPECT_TRUE(ModelName::parse("SmolLM2:135M").is_same_model(ModelName::parse("smollm2:135m")));
  EXPECT_FALSE(ModelName::parse("smollm2:135m").is_same_model(ModelName::parse("smollm2")));
}

}  // namespace
}  // namespace sluice::store
