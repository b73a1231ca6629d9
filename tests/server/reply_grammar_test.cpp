#include "server/reply_grammar.h"

#include <gtest/gtest.h>

#include <random>

#include "api/tools.h"
#include "base/error.h"
#include "grammar/test_vocabulary.h"
#include "text/reply_parser.h"

namespace sluice::server {
namespace {

using Kind = text::ReplyPart::Kind;

struct Family {
  std::string name;
  std::string chat_template;
  std::vector<std::string> controls = {};
};

const std::vector<Family>& families() {
  static const std::vector<Family> all = {
      {"hermes", "{{ tools }}<tool_call></tool_call>"},
      {"qwen3", "{{ tools }}<tool_call></tool_call><think></think>"},
      {"coder", "{{ tools }}<tool_call></tool_call><function=</function>"},
      {"llama", R"({{ tools }}"parameters"<|python_tag|>)", {"<|python_tag|>"}},
      {"old mistral", "{{ tools }}[TOOL_CALLS]", {"[TOOL_CALLS]"}},
      {"mistral",
       "[TOOL_CALLS] tools [ARGS][THINK][/THINK]",
       {"[TOOL_CALLS]", "[ARGS]", "[THINK]", "[/THINK]"}},
      {"old deepseek", "tools <think></think><｜tool▁calls▁begin｜><｜tool▁sep｜>```json"},
      {"deepseek",
       "tools <think></think><｜tool▁calls▁begin｜><｜tool▁sep｜>",
       {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>",
        "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"}},
      {"kimi",
       "tools <|tool_calls_section_begin|>",
       {"<|tool_calls_section_begin|>", "<|tool_call_begin|>", "<|tool_call_argument_begin|>",
        "<|tool_call_end|>", "<|tool_calls_section_end|>"}},
      {"harmony",
       "tools <|channel|><|message|><|start|>",
       {"<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|constrain|>", "<|call|>",
        "<|return|>"}},
      {"glm", "tools <think></think><tool_call><arg_key>"},
      {"minimax", "tools <minimax:tool_call>"},
      {"functionary", "tools <function=</function>"},
      {"granite", "tools <|tool_call|>", {"<|tool_call|>"}},
      {"nemotron", "tools <TOOLCALL>"},
  };
  return all;
}

// A model of a family, with a vocabulary of bytes, some words and the family's control tokens.
class FamilyModel {
 public:
  explicit FamilyModel(const Family& family) {
    controls_ = family.controls;
    model_.tokenizer = grammar::testing::make_tokenizer(
        {"<tool_call>\n", "{\"name\": \"", "</think>", "\"}", "}\n", "\": \"", "yes", "ing"},
        controls_);
    model_.grammars = std::make_unique<grammar::Compiler>(*model_.tokenizer);
    model_.chat_template.parsed = std::make_unique<text::ChatTemplate>(family.chat_template);
    style_ = chat_style(model_, record_, text::TemplatePreference::kByAbilities);
  }

  const ChatStyle& style() const { return style_; }

  std::optional<grammar::Source> source(const api::GenerationRequest& request,
                                        std::string_view prompt = "prompt") {
    return reply_source(request, style_, prompt);
  }

  // A reply that follows the grammar and nothing else; "" when it became too long.
  std::string random_reply(const api::GenerationRequest& request, std::mt19937& random,
                           std::string_view prompt = "prompt") {
    Work work;
    grammar::Matcher matcher(model_.grammars->compile(*source(request, prompt), work));
    const text::Tokenizer& tokenizer = *model_.tokenizer;
    std::vector<uint32_t> mask((tokenizer.vocab_size() + 31) / 32);
    std::string text;
    for (int i = 0; i < 3000 && !matcher.is_over(); ++i) {
      matcher.fill_mask(mask);
      std::vector<text::TokenId> allowed, longer, parts;  // long ones end a text sooner
      for (size_t t = 0; t < tokenizer.vocab_size(); ++t) {
        if ((mask[t / 32] >> t % 32 & 1) == 0) continue;
        const auto token = static_cast<text::TokenId>(t);
        if (t >= 0x80 && t < 256) {
          parts.push_back(token);
          continue;
        }
        if (tokenizer.is_end_of_generation(token)) {
          if (random() % 3 == 0) return text;
          continue;
        }
        allowed.push_back(token);
        if (t >= 256) longer.push_back(token);
      }
      if (allowed.empty()) allowed = parts;  // of characters that a marker has
      EXPECT_FALSE(allowed.empty()) << text;
      if (allowed.empty()) return {};
      const bool is_free = allowed.size() > 60 && !longer.empty();
      const auto& from = is_free && random() % 4 != 0 ? longer : allowed;
      const std::string_view bytes = tokenizer.framed_bytes(from[random() % from.size()]);
      EXPECT_TRUE(matcher.accept(bytes)) << text;
      text += bytes;
    }
    return matcher.is_complete() ? text : "";
  }

  std::vector<text::ReplyPart> parse(const api::GenerationRequest& request, std::string_view reply,
                                     std::string_view prompt = "prompt") const {
    text::ReplyParser parser(style_.format, {api::known_tools(request.tools), prompt});
    std::vector<text::ReplyPart> parts;
    parser.push(reply, parts);
    parser.finish(parts);
    return parts;
  }

 private:
  std::vector<std::string> controls_;
  LoadedModel model_;
  CatalogRecord record_;
  ChatStyle style_;
};

api::GenerationRequest with_tools() {
  api::GenerationRequest request;
  request.tools = api::parse_json(R"([
    {"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{
      "unit":{"type":"string","enum":["C","F"]},"days":{"type":"integer","minimum":1,"maximum":9},
      "exact":{"type":"boolean"}},"required":["unit","days"],"additionalProperties":false}}},
    {"type":"function","function":{"name":"stop"}},
    {"type":"function","function":{"name":"walk","parameters":{"type":"object","properties":{
      "to":{"type":"array","items":{"enum":["N","S"]},"maxItems":2}},"required":["to"],
      "additionalProperties":false}}}])");
  request.tool_choice.kind = api::ToolChoice::Kind::kRequired;
  return request;
}

void expect_valid(const text::CalledTool& call, const std::string& reply) {
  const api::Json arguments = api::parse_json(call.arguments);
  ASSERT_TRUE(arguments.is_object()) << reply;
  if (call.name == "weather") {
    EXPECT_TRUE(arguments["unit"] == "C" || arguments["unit"] == "F") << reply;
    EXPECT_TRUE(arguments["days"].is_number_integer()) << reply;
    EXPECT_TRUE(!arguments.contains("exact") || arguments["exact"].is_boolean()) << reply;
  } else if (call.name == "walk") {
    EXPECT_TRUE(arguments["to"].is_array()) << reply;
  } else {
    EXPECT_EQ(call.name, "stop") << reply;
  }
}

// What the grammar of a family's calls allows, the family's parser reads: whatever the model is.
TEST(ReplyGrammar, EveryFamilyWritesCallsThatItsParserReads) {
  for (const Family& family : families()) {
    FamilyModel model(family);
    EXPECT_TRUE(model.style().abilities.has_tools) << family.name;
    std::mt19937 random(1);
    api::GenerationRequest request = with_tools();
    int num_replies = 0, num_several = 0;
    for (int round = 0; round < 40; ++round) {
      request.parallel_tool_calls = round % 4 != 0;
      const bool is_named = round % 4 == 1;
      request.tool_choice = {
          is_named ? api::ToolChoice::Kind::kNamed : api::ToolChoice::Kind::kRequired,
          is_named ? "walk" : ""};
      request.think = api::Think{round % 2 == 0, ""};
      const std::string reply = model.random_reply(request, random);
      if (reply.empty()) continue;  // a text became too long
      ++num_replies;
      int num_calls = 0;
      for (const text::ReplyPart& part : model.parse(request, reply)) {
        EXPECT_NE(part.kind, Kind::kText) << family.name << ": " << reply;
        if (part.kind != Kind::kCall) continue;
        ++num_calls;
        expect_valid(part.call, reply);
        EXPECT_TRUE(!is_named || part.call.name == "walk") << reply;
      }
      EXPECT_GE(num_calls, 1) << family.name << ": " << reply;
      EXPECT_TRUE(request.parallel_tool_calls || num_calls == 1) << family.name << ": " << reply;
      if (num_calls > 1) ++num_several;
    }
    EXPECT_GE(num_replies, 20) << family.name;
    const bool is_single = model.style().format.is_harmony || model.style().format.calls.is_single;
    EXPECT_EQ(num_several > 0, !is_single) << family.name;
  }
}

TEST(ReplyGrammar, AFormatBeginsBehindTheThinking) {
  for (const Family& family : families()) {
    FamilyModel model(family);
    if (!model.style().has_thinking()) continue;
    std::mt19937 random(2);
    api::GenerationRequest request;
    request.format = {api::FormatKind::kSchema, R"({"type":"object","properties":{"a":{"enum":
        ["x","y"]}},"required":["a"],"additionalProperties":false})"};
    int num_thinking = 0, num_replies = 0;
    const std::string open = model.style().format.think_open;
    std::string begun = "user: x " + open + "\n";
    std::erase(begun, text::kControlFrame);
    for (int round = 0; round < 40; ++round) {
      const std::string prompt = round % 2 == 0 && !open.empty() ? begun : "prompt";
      const std::string reply = model.random_reply(request, random, prompt);
      if (reply.empty()) continue;
      ++num_replies;
      std::string content;
      for (const text::ReplyPart& part : model.parse(request, reply, prompt)) {
        if (part.kind == Kind::kText) content += part.text;
        if (part.kind == Kind::kThinking) ++num_thinking;
      }
      const api::Json json = api::parse_json(content);
      EXPECT_TRUE(json["a"] == "x" || json["a"] == "y") << reply;
    }
    EXPECT_GT(num_replies, 10) << family.name;
    EXPECT_GT(num_thinking, 0) << family.name;
  }
}

TEST(ReplyGrammar, WithoutThinkingAFormatBeginsAtOnce) {
  FamilyModel model(families()[1]);
  api::GenerationRequest request;
  EXPECT_FALSE(model.source(request));
  request.format.kind = api::FormatKind::kJson;
  request.think = api::Think{false, ""};
  EXPECT_EQ(model.source(request)->kind, grammar::SourceKind::kJsonObject);
  request.think.reset();
  EXPECT_EQ(model.source(request)->kind, grammar::SourceKind::kSequence);
  EXPECT_EQ(model.source(request, "")->kind, grammar::SourceKind::kJsonObject);  // a raw prompt
  request.takes_parts = false;
  EXPECT_EQ(model.source(request)->kind, grammar::SourceKind::kJsonObject);
}

std::string error_of(const Family& family, const std::string& parameters) {
  FamilyModel model(family);
  api::GenerationRequest request;
  request.tools = api::parse_json(R"([{"function":{"name":"f","parameters":)" + parameters + "}}]");
  request.tool_choice.kind = api::ToolChoice::Kind::kRequired;
  try {
    std::mt19937 random(3);
    model.random_reply(request, random);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ReplyGrammar, NamesWhatItCannotHoldTo) {
  const Family& hermes = families()[0];
  const Family& coder = families()[2];
  EXPECT_EQ(error_of(hermes, R"({"type":"array"})"),
            "the parameters of tool \"f\" must be an object");
  EXPECT_NE(error_of(hermes, R"({"properties":{"a":{"not":{"type":"string","minLength":3}}}})")
                .find("\"not\""),
            std::string::npos);
  EXPECT_EQ(error_of(hermes, R"({"properties":{"a":{"type":"string","maxLength":2}}})"), "");
  EXPECT_EQ(error_of(coder, R"({"properties":{"a":{"type":"string","maxLength":2}}})"),
            "the parameters of tool \"f\": \"maxLength\" of a text cannot be held to in the way in "
            "which this model writes calls");
  EXPECT_EQ(error_of(coder, R"({"anyOf":[{}]})"),
            "the parameters of tool \"f\": \"anyOf\" cannot be held to in the way in which this "
            "model writes calls");
}

}  // namespace
}  // namespace sluice::server
