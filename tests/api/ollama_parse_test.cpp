#include <gtest/gtest.h>

#include "api/ollama.h"
#include "base/error.h"

namespace sluice::api::ollama {
namespace {

using std::chrono::nanoseconds;
using namespace std::chrono_literals;

GenerationRequest parse_chat(std::string_view body) {
  Work work;
  return make_chat({})->parse(body, work);
}

GenerationRequest parse_generate(std::string_view body) {
  Work work;
  return make_generate({})->parse(body, work);
}

std::string model_of(std::string_view body) {
  Work work;
  return parse_model(body, work);
}

ShowRequest show_of(std::string_view body) {
  Work work;
  return parse_show(body, work);
}

template <typename Parse>
std::string error_of(Parse parse, std::string_view body) {
  try {
    parse(body);
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "no error";
}

std::string chat_error(std::string_view body) { return error_of(parse_chat, body); }
std::string generate_error(std::string_view body) { return error_of(parse_generate, body); }

TEST(OllamaChat, ReadsAWholeRequest) {
  const GenerationRequest request = parse_chat(R"({
    "model": "m:1", "stream": false, "keep_alive": "10m", "think": "high", "truncate": false,
    "shift": false, "logprobs": true, "top_logprobs": 5, "format": "",
    "options": {"temperature": 0, "stop": ["x"]},
    "tools": [{"type":"function","function":{"name":"f","parameters":{"type":"object",
      "properties":{"b":{"type":"string"},"a":{"type":["string","null"]}}}}}],
    "messages": [
      {"role": "System", "content": "be brief"},
      {"role": "user", "content": "hi"},
      {"role": "assistant", "content": "", "thinking": "hm",
       "tool_calls": [{"function": {"name": "f", "arguments": {"z": 1, "a": [2]}}}]},
      {"role": "tool", "content": "42", "tool_name": "f", "tool_call_id": "call_1"}]})");
  EXPECT_TRUE(request.is_chat);
  EXPECT_EQ(request.model, "m:1");
  EXPECT_FALSE(request.stream);
  EXPECT_EQ(request.keep_alive, nanoseconds(10min));
  ASSERT_TRUE(request.think);
  EXPECT_TRUE(request.think->is_enabled);
  EXPECT_EQ(request.think->level, "high");
  EXPECT_FALSE(request.truncate);
  EXPECT_FALSE(request.shift);
  EXPECT_EQ(request.num_top_logprobs, 5);
  EXPECT_EQ(request.options.temperature, 0.0f);
  ASSERT_EQ(request.messages.size(), 4u);
  EXPECT_EQ(request.messages[0].role, "system");
  EXPECT_EQ(request.messages[2].thinking, "hm");
  EXPECT_EQ(dump_json(request.messages[2].tool_calls[0].arguments), R"({"z":1,"a":[2]})");
  EXPECT_EQ(request.messages[3].tool_name, "f");
  EXPECT_EQ(request.messages[3].tool_call_id, "call_1");
  EXPECT_EQ(dump_json((*request.tools)[0]["function"]["parameters"]["properties"]),
            R"({"b":{"type":"string"},"a":{"type":["string","null"]}})");
  EXPECT_FALSE(request.is_load_only);
}

TEST(OllamaChat, HasOllamasDefaults) {
  const GenerationRequest request = parse_chat(R"({"Model":"m","unknown":{"x":[1]}})");
  EXPECT_TRUE(request.stream);
  EXPECT_TRUE(request.truncate);
  EXPECT_TRUE(request.shift);
  EXPECT_EQ(request.think, std::nullopt);
  EXPECT_EQ(request.keep_alive, std::nullopt);
  EXPECT_EQ(request.num_top_logprobs, -1);
  EXPECT_TRUE(request.is_load_only);
}

TEST(OllamaChat, NullIsAbsent) {
  const GenerationRequest request = parse_chat(
      R"({"model":"m","messages":[{"role":"user","content":null,"images":null,"tool_calls":null}],
          "tools":null,"stream":null,"options":null,"format":null,"keep_alive":null,"think":null,
          "logprobs":null,"top_logprobs":null})");
  EXPECT_TRUE(request.stream);
  EXPECT_EQ(request.messages[0].content, "");
}

TEST(OllamaChat, RefusesBadInputClearly) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "missing request body"},
      {"{}", "model is required"},
      {R"({"model":""})", "model is required"},
      {R"({"model":null})", "model is required"},
      {R"({"model":1})", "field \"model\" must be a string"},
      {R"({"model":["m"]})", "field \"model\" must be a string"},
      {R"({"model":"m","messages":{}})", "field \"messages\" must be a list"},
      {R"({"model":"m","messages":"hi"})", "field \"messages\" must be a list"},
      {R"({"model":"m","messages":["hi"]})", "field \"messages\" must be a list of objects"},
      {R"({"model":"m","messages":[null]})", "field \"messages\" must be a list of objects"},
      {R"({"model":"m","messages":[{}]})", "every message needs a \"role\""},
      {R"({"model":"m","messages":[{"role":3}]})", "field \"role\" must be a string"},
      {R"({"model":"m","messages":[{"role":"user","content":[]}]})",
       "field \"content\" must be a string"},
      {R"({"model":"m","messages":[{"role":"user","content":3}]})",
       "field \"content\" must be a string"},
      {R"({"model":"m","messages":[{"role":"user","images":"x"}]})",
       "field \"images\" must be a list"},
      {R"({"model":"m","messages":[{"role":"user","images":[1]}]})",
       "field \"images\" must be a list of strings"},
      {R"({"model":"m","messages":[{"role":"user","images":["%%"]}]})",
       "illegal base64 data in images"},
      {R"({"model":"m","messages":[{"role":"user","images":["data:image/png;base64,AAAA"]}]})",
       "illegal base64 data in images"},
      {R"({"model":"m","messages":[{"role":"user","images":["AAAA"]}]})",
       "\"m\" does not support images"},
      {R"({"model":"m","messages":[{"role":"assistant","tool_calls":{}}]})",
       "field \"tool_calls\" must be a list"},
      {R"({"model":"m","messages":[{"role":"assistant","tool_calls":[1]}]})",
       "every one of \"tool_calls\" needs a \"function\""},
      {R"({"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f",
        "arguments":"{}"}}]}]})",
       "field \"arguments\" must be an object"},
      {R"({"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":{"index":-1}}]}]})",
       "field \"index\" must be between 0 and 2147483647"},
      {R"({"model":"m","stream":"yes"})", "field \"stream\" must be a boolean"},
      {R"({"model":"m","options":[]})", "field \"options\" must be an object"},
      {R"({"model":"m","options":{"top_k":"x"}})", "option \"top_k\" must be of type integer"},
      {R"({"model":"m","tools":{}})", "field \"tools\" must be a list"},
      {R"({"model":"m","tools":[3]})", "field \"tools\" must be a list of objects"},
      {R"({"model":"m","tools":[{}]})", "every tool needs a \"function\" with a \"name\""},
      {R"({"model":"m","tools":[{"function":{"name":"f","parameters":[]}}]})",
       "field \"parameters\" must be an object"},
      {R"({"model":"m","format":3})",
       "invalid format: 3; expected \"json\" or a valid JSON Schema object"},
      {R"({"model":"m","format":"xml"})",
       "invalid format: \"xml\"; expected \"json\" or a valid JSON Schema object"},
      {R"({"model":"m","think":"extreme"})",
       "invalid think value: \"extreme\" (must be true, false, \"low\", \"medium\", \"high\" or "
       "\"max\")"},
      {R"({"model":"m","think":1})",
       "invalid think value: 1 (must be true, false, \"low\", \"medium\", \"high\" or \"max\")"},
      {R"({"model":"m","top_logprobs":21})", "top_logprobs must be between 0 and 20"},
      {R"({"model":"m","top_logprobs":-1,"logprobs":true})",
       "top_logprobs must be between 0 and 20"},
      {R"({"model":"m","logprobs":1})", "field \"logprobs\" must be a boolean"},
      {R"({"model":"m","keep_alive":"5"})",
       "invalid keep_alive \"5\": give a number of seconds or a duration such as \"5m\""},
      {R"({"model":"m","keep_alive":true})",
       "field \"keep_alive\" must be a number of seconds or a duration such as \"5m\""},
      {R"({"model":"m","truncate":0})", "field \"truncate\" must be a boolean"},
  };
  for (const auto& [body, message] : cases) EXPECT_EQ(chat_error(body), message) << body;
}

TEST(OllamaGenerate, ReadsAWholeRequest) {
  const GenerationRequest request = parse_generate(
      R"({"model":"m","prompt":"why?","system":"be brief","context":[1,2,3],"raw":false,
          "template":"","suffix":"","keep_alive":-1,"_debug_render_only":true})");
  EXPECT_FALSE(request.is_chat);
  EXPECT_EQ(request.prompt, "why?");
  EXPECT_EQ(request.system, "be brief");
  EXPECT_EQ(request.context, (std::vector<text::TokenId>{1, 2, 3}));
  EXPECT_EQ(request.chat_template, std::nullopt);
  EXPECT_EQ(request.keep_alive, kForever);
  EXPECT_TRUE(request.debug_render_only);
}

TEST(OllamaGenerate, ReadsATemplateAndASuffix) {
  const GenerationRequest request =
      parse_generate(R"({"model":"m","prompt":"a","template":"{{ .Prompt }}","suffix":"z"})");
  EXPECT_EQ(request.chat_template, "{{ .Prompt }}");
  EXPECT_EQ(request.suffix, "z");
}

TEST(OllamaGenerate, AnEmptyContextCountsAsGiven) {
  const GenerationRequest request = parse_generate(R"({"model":"m","context":[]})");
  ASSERT_TRUE(request.context);
  EXPECT_TRUE(request.context->empty());
  EXPECT_TRUE(request.is_load_only);
}

TEST(OllamaGenerate, LeavesAnEmptyModelToTheLookUp) { EXPECT_EQ(parse_generate("{}").model, ""); }

TEST(OllamaGenerate, RefusesBadInputClearly) {
  const std::string raw_error = "raw mode does not support template, system, or context";
  const std::pair<const char*, std::string> cases[] = {
      {R"({"model":"m","raw":true,"prompt":"x","system":"s"})", raw_error},
      {R"({"model":"m","raw":true,"prompt":"x","template":"t"})", raw_error},
      {R"({"model":"m","raw":true,"prompt":"x","context":[1]})", raw_error},
      {R"({"model":"m","raw":true,"prompt":"x","context":[]})", "no error"},
      {R"({"model":"m","prompt":["x"]})", "field \"prompt\" must be a string"},
      {R"({"model":"m","context":[-1]})", "field \"context\" must be a list of token ids"},
      {R"({"model":"m","context":[1.5]})", "field \"context\" must be a list of token ids"},
      {R"({"model":"m","context":[2147483648]})", "field \"context\" must be a list of token ids"},
      {R"({"model":"m","context":["a"]})", "field \"context\" must be a list of token ids"},
      {R"({"model":"m","context":5})", "field \"context\" must be a list"},
      {R"({"model":"m","raw":true,"prompt":"x","suffix":"y"})", "raw mode does not support suffix"},
      {R"({"model":"m","suffix":["y"]})", "field \"suffix\" must be a string"},
      {R"({"model":"m","template":{}})", "field \"template\" must be a string"},
      {R"({"model":"m","prompt":"x","images":["AAAA"]})", "\"m\" does not support images"},
  };
  for (const auto& [body, message] : cases) EXPECT_EQ(generate_error(body), message) << body;
}

TEST(OllamaGenerate, WhatWouldConstrainTheReplyIsTakenOrRefusedByName) {
  EXPECT_EQ(generate_error(R"({"model":"m","prompt":"x","grammar":"root ::= x"})"), "no error");
  EXPECT_EQ(generate_error(R"({"model":"m","prompt":"x","options":{"grammar":"root ::= x"}})"),
            "no error");
  EXPECT_EQ(generate_error(R"({"model":"m","prompt":"x","options":{"logit_bias":{"5":1}}})"),
            "option \"logit_bias\" is not supported; leave it out");
  EXPECT_EQ(generate_error(R"({"model":"m","prompt":"x","format":"json","regex":"a"})"),
            "field \"regex\": the reply has a format already; send one");
  for (const auto& [field, value] :
       {std::pair{"response_format", R"({"type":"json_object"})"},
        std::pair{"tools", R"([{"type":"function"}])"}, std::pair{"stop_sequences", R"(["x"])"}}) {
    EXPECT_EQ(generate_error(R"({"model":"m","prompt":"x",")" + std::string(field) + R"(":)" +
                             value + "}"),
              "field \"" + std::string(field) + "\" is not supported; leave it out");
  }
  // Old options of Ollama's are no error there either.
  EXPECT_EQ(generate_error(R"({"model":"m","prompt":"x","grammar":"","options":{"mirostat":1}})"),
            "no error");
}

TEST(OllamaModelRequests, TakeModelOrName) {
  EXPECT_EQ(model_of(R"({"model":"a"})"), "a");
  EXPECT_EQ(model_of(R"({"name":"b"})"), "b");
  EXPECT_EQ(model_of(R"({"model":"","name":"b"})"), "b");
  EXPECT_TRUE(show_of(R"({"name":"b","verbose":true})").verbose);
  EXPECT_EQ(error_of(model_of, "{}"), "model is required");
  EXPECT_EQ(error_of(show_of, "{}"), "model is required");
}

TEST(OllamaModelRequests, CopyNamesTwo) {
  Work work;
  const CopyRequest copy = parse_copy(R"({"source":"a","destination":"b"})", work);
  EXPECT_EQ(copy.source, "a");
  EXPECT_EQ(copy.destination, "b");
}

TEST(KeepAlive, ReadsNumbersAndDurations) {
  const auto parse = [](std::string_view text) { return parse_keep_alive(parse_json(text)); };
  EXPECT_EQ(parse("300"), nanoseconds(5min));
  EXPECT_EQ(parse("0.5"), nanoseconds(500ms));
  EXPECT_EQ(parse("0"), nanoseconds(0));
  EXPECT_EQ(parse("\"0\""), nanoseconds(0));
  EXPECT_EQ(parse("-1"), kForever);
  EXPECT_EQ(parse("-0.1"), kForever);
  EXPECT_EQ(parse("1e300"), kForever);
  EXPECT_EQ(parse("\"24h\""), nanoseconds(24h));
  EXPECT_EQ(parse("\"-1m\""), kForever);
  EXPECT_EQ(parse("\"1h2m3s\""), nanoseconds(1h + 2min + 3s));
  for (const char* text : {"\"\"", "\"5\"", "\"5 m\"", "\"x\"", "[]", "{}", "true"}) {
    EXPECT_THROW(parse(text), Error) << text;
  }
  EXPECT_EQ(parse_keep_alive_text("300"), nanoseconds(5min));
  EXPECT_EQ(parse_keep_alive_text("5m"), nanoseconds(5min));
  EXPECT_EQ(parse_keep_alive_text("-1"), kForever);
  EXPECT_THROW(parse_keep_alive_text("five"), Error);
  EXPECT_THROW(parse_keep_alive_text(""), Error);
}

TEST(Extensions, TimeoutsAreWrittenAsKeepAlives) {
  const auto timeout_of = [](const std::string& value) {
    return parse_chat(R"({"model":"m","timeout":)" + value + "}").extensions.timeout;
  };
  EXPECT_EQ(timeout_of("2"), 2s);
  EXPECT_EQ(timeout_of("\"1m30s\""), 90s);
  EXPECT_EQ(timeout_of("0"), kNoTimeout);
  EXPECT_EQ(timeout_of("-1"), kNoTimeout);
  EXPECT_EQ(timeout_of("1e300"), kNoTimeout);
  EXPECT_EQ(timeout_of("null"), std::nullopt);
  EXPECT_EQ(parse_timeout_text("30"), 30s);
  EXPECT_EQ(parse_timeout_text("500ms"), 500ms);
  EXPECT_NE(chat_error(R"({"model":"m","timeout":"soon"})").find("invalid timeout \"soon\""),
            std::string::npos);
  EXPECT_NE(chat_error(R"({"model":"m","timeout":[]})").find("field \"timeout\""),
            std::string::npos);
}

TEST(Extensions, AreAbsentUnlessGiven) {
  const Extensions none = parse_chat(R"({"model":"m"})").extensions;
  EXPECT_FALSE(none.timeout || none.speculate || none.wants_queue_events || none.ignore_end);
  const Extensions some =
      parse_generate(R"({"model":"m","speculate":false,"queue_events":true,"ignore_eos":true})")
          .extensions;
  EXPECT_TRUE(some.ignore_end);
  EXPECT_EQ(some.speculate, false);
  EXPECT_TRUE(some.wants_queue_events);
}

}  // namespace
}  // namespace sluice::api::ollama
