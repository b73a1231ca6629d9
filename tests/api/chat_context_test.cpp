#include "api/chat_context.h"

#include <gtest/gtest.h>

#include "api/ollama.h"
#include "base/error.h"

namespace sluice::api {
namespace {

Json to_json(const text::Value& value) {
  if (const bool* flag = value.as_bool()) return *flag;
  if (const int64_t* number = value.as_int()) return *number;
  if (const double* number = value.as_double()) return *number;
  if (const std::string* text = value.as_string()) return *text;
  Json json;
  if (const auto* list = value.as_list()) {
    json = Json::array();
    for (const text::Value& item : *list) json.push_back(to_json(item));
  }
  if (const auto* dict = value.as_dict()) {
    json = Json::object();
    for (const auto& [key, item] : *dict) json[key] = to_json(item);
  }
  return json;
}

GenerationRequest parse(MakeDialect make, std::string_view body) {
  Work work;
  return make({})->parse(body, work);
}

std::string roles(const std::vector<Message>& messages) {
  std::string text;
  for (const Message& message : messages) text += message.role + ":" + message.content + " ";
  return text;
}

ModelPrompt sample_prompt() {
  Work work;
  return {"model system",
          parse_messages_layer(
              R"([{"role":"user","content":"q"},{"role":"assistant","content":"a"}])", work)};
}

TEST(ComposeMessages, ChatGetsTheModelsSystemAndHistory) {
  const auto request =
      parse(ollama::make_chat, R"({"model":"m","messages":[{"role":"user","content":"hi"}]})");
  EXPECT_EQ(roles(compose_messages(request, sample_prompt())),
            "system:model system user:q assistant:a user:hi ");
}

TEST(ComposeMessages, AChatsOwnSystemReplacesTheModels) {
  const auto request = parse(
      ollama::make_chat,
      R"({"model":"m","messages":[{"role":"system","content":"own"},{"role":"user","content":"hi"}]})");
  EXPECT_EQ(roles(compose_messages(request, sample_prompt())),
            "user:q assistant:a system:own user:hi ");
}

TEST(ComposeMessages, APromptIsAUserMessage) {
  const auto plain = parse(ollama::make_generate, R"({"model":"m","prompt":"hi"})");
  EXPECT_EQ(roles(compose_messages(plain, sample_prompt())),
            "system:model system user:q assistant:a user:hi ");
  const auto own =
      parse(ollama::make_generate, R"({"model":"m","prompt":"hi","system":"own","context":[]})");
  EXPECT_EQ(roles(compose_messages(own, sample_prompt())), "system:own user:hi ");
  EXPECT_EQ(roles(compose_messages(plain, {})), "user:hi ");
}

TEST(ChatContext, IsWhatTemplatesRead) {
  const auto request = parse(ollama::make_chat, R"({"model":"m","think":"low",
    "tools":[{"type":"function","function":{"name":"f","parameters":{"z":1,"a":2}}}],
    "messages":[{"role":"user","content":"hi"},
      {"role":"assistant","content":"","thinking":"hm",
       "tool_calls":[{"id":"c1","function":{"name":"f","arguments":{"z":[1.5,null],"a":true}}}]},
      {"role":"tool","content":"42","tool_name":"f","tool_call_id":"c1"}]})");
  TemplateVariables variables;
  variables.bos_token = "<s>";
  variables.eos_token = "</s>";
  const auto context =
      chat_context(compose_messages(request, {}), request.tools, request.think, variables);
  EXPECT_EQ(
      dump_json(to_json(context)),
      R"({"messages":[{"role":"user","content":"hi"},)"
      R"({"role":"assistant","content":"","reasoning_content":"hm","thinking":"hm","tool_calls":[{"id":"c1",)"
      R"("type":"function","function":{"name":"f","arguments":{"z":[1.5,null],"a":true}}}]},)"
      R"({"role":"tool","content":"42","tool_call_id":"c1","name":"f"}],)"
      R"("tools":[{"type":"function","function":{"name":"f","parameters":{"z":1,"a":2}}}],)"
      R"("add_generation_prompt":true,"bos_token":"<s>","eos_token":"</s>",)"
      R"("enable_thinking":true,"thinking":true,"reasoning_effort":"low"})");
  variables.arguments_as_text = true;
  const auto as_text =
      to_json(chat_context(request.messages, Json::array(), std::nullopt, variables));
  EXPECT_EQ(as_text["messages"][1]["tool_calls"][0]["function"]["arguments"],
            R"({"z":[1.5,null],"a":true})");
  EXPECT_FALSE(as_text.contains("tools"));
  EXPECT_FALSE(as_text.contains("enable_thinking"));
}

TEST(ToValue, KeepsLargeNumbersAndBoundsDepth) {
  EXPECT_EQ(*to_value(parse_json("9223372036854775807")).as_int(), 9223372036854775807);
  EXPECT_EQ(*to_value(parse_json("18446744073709551615")).as_double(), 18446744073709551615.0);
  EXPECT_TRUE(to_value(Json()).is_none());
  Json deep = 1;
  for (int i = 0; i < 300; ++i) deep = Json::array({deep});
  EXPECT_THROW(to_value(deep), Error);
}

TEST(MessagesLayer, RefusesWhatIsBroken) {
  Work work;
  for (const char* text : {"", "3", "[3]", "[{}]", R"([{"role":3}])"}) {
    try {
      const auto messages = parse_messages_layer(text, work);
      EXPECT_TRUE(false) << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruptData) << text;
    }
  }
}

}  // namespace
}  // namespace sluice::api
