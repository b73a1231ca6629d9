#include "store/modelfile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/error.h"

namespace sluice::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string refusal_of(const std::string& text) {
  try {
    parse_modelfile(text);
    return "nothing was thrown";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Modelfile, ReadsEveryCommand) {
  const Modelfile file = parse_modelfile(
      "# a comment\r\n"
      "from llama3.1:8b\n"
      "PARAMETER temperature 0.7\n"
      "Parameter STOP \"<|end|>\"\n"
      "PARAMETER stop two words \n"
      "TEMPLATE \"\"\"{{ .System }}\nUSER: {{ .Prompt }}\"\"\"\n"
      "SYSTEM You are brief.\n"
      "MESSAGE user Is \"this\" a test?\n"
      "MESSAGE assistant \"\"\"\nYes.\n\"\"\"\n"
      "LICENSE free\nLICENSE \"\"\"also\n\nfree\"\"\"\n"
      "RENDERER qwen3\nPARSER qwen3\nREQUIRES 0.9.0");
  EXPECT_THAT(file.from, ElementsAre("llama3.1:8b"));
  ASSERT_EQ(file.parameters.size(), 3u);
  EXPECT_EQ(file.parameters[0].name, "temperature");
  EXPECT_EQ(file.parameters[1].name, "stop");
  EXPECT_EQ(file.parameters[1].value, "<|end|>");
  EXPECT_EQ(file.parameters[2].value, "two words");
  EXPECT_EQ(file.chat_template, "{{ .System }}\nUSER: {{ .Prompt }}");
  EXPECT_EQ(file.system, "You are brief.");
  ASSERT_EQ(file.messages.size(), 2u);
  EXPECT_EQ(file.messages[0].content, "Is \"this\" a test?");
  EXPECT_EQ(file.messages[1].content, "\nYes.\n");
  EXPECT_THAT(file.licenses, ElementsAre("free", "also\n\nfree"));
  EXPECT_EQ(file.requirement, "0.9.0");
}

// Ollama's rule: a value is over with the first line whose end closes it.
TEST(Modelfile, EndsAQuotationAtTheEndOfALineOnly) {
  EXPECT_EQ(parse_modelfile("FROM x\nSYSTEM \"\"\"a \"\"\" b\nc\"\"\"").system, "a \"\"\" b\nc");
  EXPECT_EQ(parse_modelfile("FROM x\nSYSTEM \"say \"hi\" now\"").system, "say \"hi\" now");
  EXPECT_EQ(parse_modelfile("FROM x\nSYSTEM \"two\nlines\"").system, "two\nlines");
  EXPECT_EQ(parse_modelfile("FROM x\nSYSTEM \"\"\"FROM y\n# no comment\"\"\"   \n").system,
            "FROM y\n# no comment");
  EXPECT_EQ(parse_modelfile("FROM x\nSYSTEM \"\"").system, "");
}

TEST(Modelfile, SaysWhatIsWrongAndWhere) {
  EXPECT_EQ(refusal_of(""), "no FROM line");
  EXPECT_EQ(refusal_of("# only a comment"), "no FROM line");
  EXPECT_THAT(refusal_of("FROM x\nBAKE y"), HasSubstr("(line 2): 'BAKE' is no command"));
  EXPECT_THAT(refusal_of("FROM"), HasSubstr("(line 2): FROM needs a model"));
  EXPECT_THAT(refusal_of("FROM x\n\nSYSTEM \"\"\"open\nand open"), HasSubstr("(line 3): the quot"));
  EXPECT_THAT(refusal_of("FROM x\nMESSAGE robot hi"), HasSubstr("role must be one of"));
  EXPECT_THAT(refusal_of("FROM x\nADAPTER ./lora.gguf"), HasSubstr("ADAPTER is not supported"));
  EXPECT_THAT(refusal_of("FROM x\nPARAMETER"), HasSubstr("needs a name"));
}

TEST(Modelfile, ReadsByteOrderMarks) {
  EXPECT_THAT(parse_modelfile("\xef\xbb\xbf"
                              "FROM x")
                  .from,
              ElementsAre("x"));
  const std::string little(
      "\xff\xfe"
      "F\0R\0O\0M\0 \0\xe9\0\x3d\xd8\x00\xde",
      18);
  EXPECT_THAT(parse_modelfile(little).from, ElementsAre("\xc3\xa9\xf0\x9f\x98\x80"));
  const std::string big("\xfe\xff\0F\0R\0O\0M\0 \0x\xd8\x3d", 16);
  EXPECT_THAT(parse_modelfile(big).from, ElementsAre("x\xef\xbf\xbd"));
}

TEST(Modelfile, IsReadInLinearTime) {
  const std::string blank(4 << 20, '\n');
  EXPECT_EQ(parse_modelfile("FROM x\nSYSTEM \"\"\"" + blank + "\"\"\"").system, blank);
  EXPECT_THAT(refusal_of(std::string(17 << 20, ' ')), HasSubstr("larger than 16 MB"));
}

TEST(Modelfile, IsWrittenAsItIsRead) {
  std::mt19937 random(5);
  const std::string pieces[] = {"a", " ", "\n", "\"", "#", "FROM", "{{ .x }}", "\xc3\xa9"};
  const auto text = [&](bool may_end_quoted) {
    std::string result = "b";
    for (unsigned i = random() % 8; i > 0; --i) result += pieces[random() % 8];
    while (!may_end_quoted && result.find("\"\"\"") != std::string::npos) result.pop_back();
    return result;
  };
  for (int turn = 0; turn < 2000; ++turn) {
    Modelfile file;
    file.from = {"model:tag"};
    file.system = text(false);
    file.chat_template = text(false);
    file.parameters = {{"stop", text(false)}, {"temperature", "0.5"}};
    file.messages = {{"user", text(false)}, {"assistant", text(false)}};
    file.licenses = {text(false), text(false)};
    const Modelfile read = parse_modelfile(format_modelfile(file, "name"));
    ASSERT_EQ(read.system, file.system) << "seed 5, turn " << turn;
    ASSERT_EQ(read.chat_template, file.chat_template);
    ASSERT_EQ(read.parameters[0].value, file.parameters[0].value);
    ASSERT_EQ(read.messages[0].content, file.messages[0].content);
    ASSERT_EQ(read.messages[1].content, file.messages[1].content);
    ASSERT_EQ(read.licenses, file.licenses);
  }
}

TEST(ModelfileParameters, TakeTheTypeOfTheirName) {
  EXPECT_EQ(parameters_json({{"num_ctx", "4096"},
                             {"temperature", "0.5"},
                             {"stop", "<a>"},
                             {"stop", "b"},
                             {"use_mmap", "true"},
                             {"mirostat", "2"}}),
            "{\"num_ctx\":4096,\"stop\":[\"\\u003ca\\u003e\",\"b\"],\"temperature\":0.5,"
            "\"use_mmap\":true}\n");
  EXPECT_EQ(parameters_json({}), "");
  EXPECT_THROW(parameters_json({{"warmth", "1"}}), Error);
  EXPECT_THROW(parameters_json({{"num_ctx", "many"}}), Error);
  EXPECT_THROW(parameters_json({{"num_ctx", "1.5"}}), Error);
  EXPECT_THROW(parameters_json({{"temperature", "inf"}}), Error);
  EXPECT_THROW(parameters_json({{"use_mmap", "1"}}), Error);
}

}  // namespace
}  // namespace sluice::store
