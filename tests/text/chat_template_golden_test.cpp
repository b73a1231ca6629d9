#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "gguf/file.h"
#include "template_test_util.h"

namespace sluice::text {
namespace {

// What the template renders, or nothing when it is refused.
std::optional<std::string> try_render(const std::string& source, const Value& context) {
  try {
    return ChatTemplate(source).render(context, golden_limits()).text();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return std::nullopt;
  }
}

void expect_golden_cases(const std::string& file, size_t at_least) {
  Value context = to_value(golden("context.json"));
  Json cases = golden(file);
  EXPECT_GE(cases.size(), at_least);
  for (const Json& entry : cases) {
    std::string source = entry[0].get<std::string>();
    std::optional<std::string> text = try_render(source, context);
    if (entry[1].is_null()) {
      EXPECT_FALSE(text.has_value()) << source << "\nshould fail but gives: " << *text;
    } else {
      ASSERT_TRUE(text.has_value()) << source;
      EXPECT_EQ(*text, entry[1].get<std::string>()) << source;
    }
  }
}

TEST(ChatTemplateGolden, SnippetsRenderAsPythonDoes) { expect_golden_cases("snippets.json", 1350); }

TEST(ChatTemplateGolden, RandomTemplatesRenderAsPythonDoes) {
  expect_golden_cases("random.json", 800);
}

std::vector<Value> published_contexts() {
  Json data = golden("conversations.json");
  std::vector<Value> contexts;
  for (const auto& [conversation, messages] : data["conversations"].items()) {
    for (const auto& [option, values] : data["options"].items()) {
      Value::Dict context = {
          {"messages", to_value(messages)}, {"bos_token", "<s>"}, {"eos_token", "</s>"}};
      for (const auto& [name, value] : values.items()) context.emplace_back(name, to_value(value));
      contexts.emplace_back(std::move(context));
    }
  }
  return contexts;
}

// Digest of all conversations rendered, as make_template_goldens.py takes it.
std::string render_digest(const std::string& source, const std::vector<Value>& contexts) {
  ChatTemplate chat_template(source);
  Digest digest;
  for (const Value& context : contexts) {
    try {
      digest.add(chat_template.render(context, golden_limits()).text());
      digest.add(std::string_view("\0", 1));
    } catch (const Error&) {
      digest.add("\1");
    }
  }
  return digest.hex();
}

// Checks the templates that `source_of` finds, by their published names; returns how many.
template <typename SourceOf>
int expect_published_digests(SourceOf source_of) {
  std::vector<Value> contexts = published_contexts();
  int checked = 0;
  for (const Json& entry : golden("published.json")) {
    std::optional<std::string> source = source_of(entry[0].get<std::string>());
    if (!source) continue;
    Digest digest;
    digest.add(*source);
    if (digest.hex() != entry[1].get<std::string>()) continue;  // another version of it
    EXPECT_EQ(render_digest(*source, contexts), entry[2].get<std::string>()) << entry[0];
    ++checked;
  }
  return checked;
}

TEST(ChatTemplateGolden, PublishedTemplatesRenderAsPythonDoes) {
  const char* folder = std::getenv("SLUICE_TEST_TEMPLATES");
  if (folder == nullptr) GTEST_SKIP() << "SLUICE_TEST_TEMPLATES names no folder of chat templates";
  int checked = expect_published_digests([&](const std::string& name) {
    std::string path = std::string(folder) + "/" + name;
    return std::filesystem::exists(path) ? std::optional(read_text(path)) : std::nullopt;
  });
  EXPECT_GT(checked, 0) << "none of the known templates is in " << folder;
}

TEST(ChatTemplateGolden, TemplatesInModelFilesRenderAsPythonDoes) {
  const char* folder = std::getenv("SLUICE_TEST_MODELS");
  if (folder == nullptr) GTEST_SKIP() << "SLUICE_TEST_MODELS names no folder of models";
  int checked = expect_published_digests([&](const std::string& name) {
    std::string path = std::string(folder) + "/" + name;
    std::optional<std::string> source;
    if (!std::filesystem::exists(path)) return source;
    gguf::File file = gguf::File::open(path);
    if (auto text = file.get_string("tokenizer.chat_template")) source = std::string(*text);
    return source;
  });
  EXPECT_GT(checked, 0) << "none of the known models is in " << folder;
}

}  // namespace
}  // namespace sluice::text
