#include "api/openai.h"

#include <gtest/gtest.h>

#include "api/tools.h"
#include "base/error.h"

namespace sluice::api::openai {
namespace {

// 1970-01-01T00:00:01Z
const Stamp kStamp = {"7", [] { return TimePoint(std::chrono::seconds(1)); }};

GenerationRequest parse(Dialect& dialect, std::string_view body) {
  Work work;
  return dialect.parse(body, work);
}

GenerationRequest parse_chat_completion(std::string_view body) {
  return parse(*make_chat_completion(kStamp), body);
}

GenerationRequest parse_completion(std::string_view body) {
  return parse(*make_completion(kStamp), body);
}

std::string chat_error(std::string_view body) {
  try {
    parse_chat_completion(body);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string with_messages(const std::string& fields) {
  return R"({"model":"m","messages":[{"role":"user","content":"hi"}],)" + fields + "}";
}

TEST(OpenAiChat, ReadsAWholeRequest) {
  const GenerationRequest request = parse_chat_completion(R"({
    "model": "m", "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 9,
    "seed": 7, "stop": "x", "temperature": 0.5, "top_p": 0.25, "frequency_penalty": 1,
    "presence_penalty": -1, "logprobs": true, "top_logprobs": 2, "reasoning_effort": "xhigh",
    "response_format": {"type": "text"}, "n": 1, "user": "me", "tool_choice": "auto",
    "tools": [{"type":"function","function":{"name":"f"}}],
    "messages": [
      {"role": "developer", "content": "be brief"},
      {"role": "user", "content": [{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role": "assistant", "content": null, "reasoning": "hm", "tool_calls": [
        {"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"b\":1,\"a\":2}"}}]},
      {"role": "tool", "tool_call_id": "call_1", "content": "42"}]})");
  EXPECT_TRUE(request.is_chat);
  EXPECT_TRUE(request.stream);
  EXPECT_EQ(request.options.num_predict, 9);
  EXPECT_EQ(request.options.seed, 7);
  EXPECT_EQ(request.options.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(request.options.temperature, 0.5f);
  EXPECT_EQ(request.options.top_p, 0.25f);
  EXPECT_EQ(request.options.frequency_penalty, 1.0f);
  EXPECT_EQ(request.options.presence_penalty, -1.0f);
  EXPECT_EQ(request.num_top_logprobs, 2);
  ASSERT_TRUE(request.think);
  EXPECT_EQ(request.think->level, "max");
  ASSERT_EQ(request.messages.size(), 4u);
  EXPECT_EQ(request.messages[0].role, "system");
  EXPECT_EQ(request.messages[1].content, "a\nb");
  EXPECT_EQ(request.messages[2].thinking, "hm");
  EXPECT_EQ(dump_json(request.messages[2].tool_calls[0].arguments), R"({"b":1,"a":2})");
  EXPECT_EQ(request.messages[3].tool_name, "f");
  EXPECT_EQ(request.tools->size(), 1u);
}

TEST(OpenAiChat, OllamasWordForThinkingIsAWish) {
  const GenerationRequest request = parse_chat_completion(
      R"({"model":"m","think":true,"messages":[{"role":"user","content":"x"}]})");
  ASSERT_TRUE(request.think);
  EXPECT_TRUE(request.think->is_enabled && request.think->is_wish);
  EXPECT_FALSE(parse_chat_completion(R"({"model":"m","reasoning_effort":"low",
                              "messages":[{"role":"user","content":"x"}]})")
                   .think->is_wish);
}

TEST(OpenAiChat, HasOpenAisDefaults) {
  const GenerationRequest request =
      parse_chat_completion(R"({"model":"m","messages":[{"role":"user","content":"hi"}]})");
  EXPECT_FALSE(request.stream);
  EXPECT_EQ(request.options.temperature, 1.0f);
  EXPECT_EQ(request.options.top_p, 1.0f);
  EXPECT_EQ(request.options.num_predict, std::nullopt);
  EXPECT_EQ(request.options.stop, std::nullopt);
  EXPECT_EQ(request.num_top_logprobs, -1);
}

TEST(OpenAiChat, MaxCompletionTokensCountsFirst) {
  EXPECT_EQ(parse_chat_completion(with_messages(R"("max_tokens":5,"max_completion_tokens":3)"))
                .options.num_predict,
            3);
  EXPECT_EQ(parse_chat_completion(with_messages(R"("max_completion_tokens":null,"max_tokens":5)"))
                .options.num_predict,
            5);
}

TEST(OpenAiChat, ToolChoiceNoneHidesTheTools) {
  const auto request = parse_chat_completion(
      with_messages(R"("tool_choice":"none","tools":[{"function":{"name":"f"}}])"));
  EXPECT_TRUE(request.tools->empty());
}

TEST(OpenAiChat, ReadsEveryFormOfAToolChoice) {
  using Kind = ToolChoice::Kind;
  const auto choice_of = [](const std::string& choice) {
    return parse_chat_completion(with_messages(
        R"("tools":[{"function":{"name":"f"}},{"function":{"name":"g"}}],"tool_choice":)" +
        choice));
  };
  EXPECT_EQ(choice_of(R"("auto")").tool_choice.kind, Kind::kAuto);
  EXPECT_EQ(choice_of(R"("required")").tool_choice.kind, Kind::kRequired);
  for (const char* named :
       {R"({"type":"function","function":{"name":"g"}})", R"({"type":"function","name":"g"})"}) {
    EXPECT_EQ(choice_of(named).tool_choice.kind, Kind::kNamed);
    EXPECT_EQ(choice_of(named).tool_choice.name, "g");
  }
  const auto allowed = choice_of(R"({"type":"allowed_tools","allowed_tools":{"mode":"required",
      "tools":[{"type":"function","function":{"name":"g"}}]}})");
  EXPECT_EQ(allowed.tool_choice.kind, Kind::kRequired);
  EXPECT_EQ(dump_json(allowed.tools), R"([{"function":{"name":"g"}}])");
  EXPECT_TRUE(choice_of("null").parallel_tool_calls);
  EXPECT_FALSE(choice_of(R"("auto","parallel_tool_calls":false)").parallel_tool_calls);
}

TEST(OpenAiChat, KnowsTheOlderFunctions) {
  const auto dialect = make_chat_completion(kStamp);
  const GenerationRequest request = parse(*dialect, R"({"model":"m",
      "functions":[{"name":"f","parameters":{"type":"object"}}],"function_call":{"name":"f"},
      "messages":[{"role":"user","content":"x"},{"role":"assistant","content":null,
        "function_call":{"name":"f","arguments":"{\"a\":1}"}},
        {"role":"function","name":"f","content":"7"}]})");
  EXPECT_EQ(request.tool_choice.name, "f");
  EXPECT_FALSE(request.parallel_tool_calls);
  EXPECT_EQ(dump_json(request.messages[1].tool_calls.at(0).arguments), R"({"a":1})");
  EXPECT_EQ(request.messages[2].role, "tool");
  EXPECT_EQ(request.messages[2].tool_name, "f");
  Choice choice;
  choice.piece.tool_calls.resize(1);
  choice.piece.tool_calls[0].name = "f";
  EXPECT_NE(dialect->piece(choice.piece).find(R"("function_call":{"name":"f","arguments":"{}"})"),
            std::string::npos);
  const Json whole = parse_json(dialect->whole({&choice, 1}));
  EXPECT_EQ(whole["choices"][0]["message"]["function_call"]["name"], "f");
  EXPECT_EQ(whole["choices"][0]["finish_reason"], "function_call");
}

TEST(Tools, TellAParserWhatItMayKnow) {
  const auto known = known_tools(parse_json(R"([{"function":{"name":"f","parameters":{
      "properties":{"a":{"type":"string"},"b":{"type":["string"]},"c":true}}}},
      {"function":{"name":"g","parameters":5}},{"function":{"name":"h"}}])"));
  ASSERT_EQ(known.size(), 3u);
  EXPECT_EQ(known[0].name, "f");
  EXPECT_EQ(known[0].parameters,
            (std::vector<std::pair<std::string, bool>>{{"a", true}, {"b", false}, {"c", false}}));
  EXPECT_EQ(fresh_call_id().size(), 13u);
  EXPECT_EQ(fresh_call_id(9).size(), 9u);
  EXPECT_NE(fresh_call_id(), fresh_call_id());
}

TEST(OpenAiChat, RefusesBadInputClearly) {
  const std::string stop_error = "field \"stop\" must be a string or a list of strings";
  const std::pair<std::string, std::string> cases[] = {
      {"", "missing request body"},
      {"{}", "model is required"},
      {R"({"model":"m"})", "[] is too short - 'messages'"},
      {R"({"model":"m","messages":[]})", "[] is too short - 'messages'"},
      {R"({"model":"m","messages":[[]]})", "field \"messages\" must be a list of objects"},
      {R"({"model":"m","messages":[{"content":"x"}]})", "every message needs a \"role\""},
      {R"({"model":"m","messages":[{"role":"user"}]})", "invalid message content type: null"},
      {R"({"model":"m","messages":[{"role":"user","content":null}]})",
       "invalid message content type: null"},
      {R"({"model":"m","messages":[{"role":"user","content":3}]})",
       "invalid message content type: number"},
      {R"({"model":"m","messages":[{"role":"user","content":{}}]})",
       "invalid message content type: object"},
      {R"({"model":"m","messages":[{"role":"user","content":["x"]}]})",
       "invalid message format: a part of \"content\" is no object"},
      {R"({"model":"m","messages":[{"role":"user","content":[{"type":"video"}]}]})",
       "content of type \"video\" is not supported"},
      {R"({"model":"m","messages":[{"role":"user","content":[{"type":"image_url",
        "image_url":{"url":"http://169.254.169.254/x.png"}}]}]})",
       "invalid image input: give a data: URL with base64 (jpeg, png or webp)"},
      {R"({"model":"m","messages":[{"role":"user","content":[{"type":"image_url",
        "image_url":{"url":"file:///etc/passwd"}}]}]})",
       "invalid image input: give a data: URL with base64 (jpeg, png or webp)"},
      {R"({"model":"m","messages":[{"role":"user","content":[{"type":"image_url",
        "image_url":"data:image/png;base64,!"}]}]})",
       "illegal base64 data in image_url"},
      {R"({"model":"m","messages":[{"role":"user","content":[{"type":"image_url",
        "image_url":"data:image/png;base64,AAAA"}]}]})",
       "\"m\" does not support images"},
      {R"({"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f",
        "arguments":"{"}}]}]})",
       "invalid tool call arguments"},
      {R"({"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f",
        "arguments":"[]"}}]}]})",
       "invalid tool call arguments"},
      {with_messages(R"("stop":3)"), stop_error},
      {with_messages(R"("stop":[3])"), stop_error},
      {with_messages("\"stop\":" + Json(std::vector<std::string>(65, "x")).dump()),
       "too many items in \"stop\": 65; send at most 64 in one request"},
      {with_messages(R"("temperature":"x")"), "field \"temperature\" must be a number"},
      {with_messages(R"("temperature":1e39)"), "field \"temperature\" is out of range"},
      {with_messages(R"("seed":1.5)"), "field \"seed\" must be an integer"},
      {with_messages(R"("max_tokens":"9")"), "field \"max_tokens\" must be an integer"},
      {with_messages(R"("n":0)"), "field \"n\" must be between 1 and 128"},
      {with_messages(R"("n":129)"), "field \"n\" must be between 1 and 128"},
      {with_messages(R"("n":1.5)"), "field \"n\" must be an integer"},
      {with_messages(R"("best_of":2)"), "field \"best_of\" is not supported; leave it out"},
      {with_messages(R"("echo":true)"), "field \"echo\" is not supported; leave it out"},
      {with_messages(R"("modalities":["text","audio"])"),
       "field \"modalities\" is not supported; leave it out"},
      {with_messages(R"("n_predict":9)"), "field \"n_predict\" is not supported; leave it out"},
      {with_messages(R"("skip_special_tokens":false)"),
       "field \"skip_special_tokens\" is not supported; leave it out"},
      {with_messages(R"("stop_sequences":["x"])"),
       "field \"stop_sequences\" is not supported; leave it out"},
      {with_messages(R"("format":"json")"), "field \"format\" is not supported; leave it out"},
      {with_messages(R"("logit_bias":[1])"), "field \"logit_bias\" must be an object"},
      {with_messages(R"("logit_bias":{"a":1})"),
       "field \"logit_bias\" must have token ids as its names"},
      {with_messages(R"("logit_bias":{"-1":1})"),
       "field \"logit_bias\" must have token ids as its names"},
      {with_messages(R"("logit_bias":{"99999999999":1})"),
       "field \"logit_bias\" must have token ids as its names"},
      {with_messages(R"("logit_bias":{"5":"1"})"),
       "field \"logit_bias\" must have numbers from -100 to 100 as its values"},
      {with_messages(R"("logit_bias":{"5":100.5})"),
       "field \"logit_bias\" must have numbers from -100 to 100 as its values"},
      {with_messages(R"("grammar":7)"), "field \"grammar\" must be a string"},
      {with_messages(R"("guided_choice":"a")"),
       "field \"guided_choice\" must be a list of strings"},
      {with_messages(R"("guided_json":{"type":"object"},"regex":"a")"),
       "field \"regex\": the reply has a format already; send one"},
      {with_messages(R"("structured_outputs":{"json_object":true})"),
       "\"json_object\" in structured_outputs is not supported"},
      {with_messages(R"("tools":[{"type":7,"function":{"name":"f"}}])"),
       "field \"type\" must be a string"},
      {with_messages(R"("tools":[{"function":{"name":"f","description":{}}}])"),
       "field \"description\" must be a string"},
      {with_messages(R"("functions":[{}])"), "every tool needs a \"function\" with a \"name\""},
      {with_messages(R"("functions":[{"name":"f"}],"function_call":{"name":"g"})"),
       "tool_choice names a tool that is not in \"tools\""},
      {with_messages(R"("tool_choice":"required")"),
       "tool_choice asks for a call, but there are no tools"},
      {with_messages(R"("tool_choice":"sometimes")"),
       "tool_choice must be \"auto\", \"none\", \"required\" or a function"},
      {with_messages(
           R"("tools":[{"function":{"name":"g"}}],"tool_choice":{"type":"function","function":{"name":"f"}})"),
       "tool_choice names a tool that is not in \"tools\""},
      {with_messages(R"("tools":[{"function":{"name":"g"}}],"tool_choice":{"type":"function"})"),
       "tool_choice needs the name of a function"},
      {with_messages(R"("tools":[{"function":{"name":"g"}}],"tool_choice":{"type":"mcp"})"),
       "tool_choice of this type is not supported: give a function"},
      {with_messages(R"("tools":[{"function":{"name":"g"}}],"tool_choice":"required",
                        "response_format":{"type":"json_object"})"),
       "a reply that must call a tool can have no format of its own; leave one of them out"},
      {with_messages(R"("stream_options":true)"), "field \"stream_options\" must be an object"},
      {with_messages(R"("response_format":{"type":"json_schema","json_schema":{}})"),
       "response_format \"json_schema\" needs json_schema.schema"},
      {with_messages(R"("response_format":{"type":"xml"})"), "invalid response_format type"},
      {with_messages(R"("reasoning_effort":"huge")"),
       "invalid reasoning effort \"huge\": must be \"none\", \"minimal\", \"low\", \"medium\", "
       "\"high\", \"xhigh\" or \"max\""},
      {with_messages(R"("top_logprobs":21)"), "top_logprobs must be between 0 and 20"},
  };
  for (const auto& [body, message] : cases) EXPECT_EQ(chat_error(body), message) << body;
}

TEST(OpenAiCompletion, ReadsARequest) {
  const GenerationRequest request =
      parse_completion(R"({"model":"m","prompt":"x","max_tokens":4,"logprobs":2,"stop":["a"]})");
  EXPECT_FALSE(request.is_chat);
  EXPECT_EQ(request.prompt, "x");
  EXPECT_EQ(request.options.num_predict, 4);
  EXPECT_EQ(request.num_top_logprobs, 2);
  EXPECT_EQ(parse_completion(R"({"model":"m","prompt":"x","suffix":"y"})").suffix, "y");
  EXPECT_THROW(parse_completion(R"({"model":"m","prompt":[1],"suffix":"y"})"), Error);
  EXPECT_THROW(parse_completion(R"({"model":"m","prompt":["x",[1]],"suffix":"y"})"), Error);
  EXPECT_TRUE(parse_completion(R"({"model":"m","prompt":"x","echo":true})").echo);
  EXPECT_THROW(parse_completion(R"({"model":"m","prompt":"x","echo":true,"logprobs":1})"), Error);
  EXPECT_THROW(parse_completion(R"({"model":"m","prompt":"x","best_of":2})"), Error);
}

TEST(OpenAiCompletion, RepliesOfAllPromptsTogetherAreBounded) {
  EXPECT_EQ(parse_completion(R"({"model":"m","prompt":["x","y"],"n":64})").num_choices, 64);
  EXPECT_THROW(parse_completion(R"({"model":"m","prompt":["x","y"],"n":65})"), Error);
}

TEST(OpenAiChat, ReadsBiases) {
  const auto request =
      parse_chat_completion(with_messages(R"("n":3,"logit_bias":{"50256":-100,"7":0.5})"));
  EXPECT_EQ(request.num_choices, 3);
  ASSERT_EQ(request.biases.size(), 2u);
  const auto& other = request.biases[request.biases[0].token == 7 ? 0 : 1];
  EXPECT_EQ(other.token, 7);
  EXPECT_EQ(other.bias, 0.5f);
  std::string many;
  for (int i = 0; i < 1025; ++i) many += (i ? ",\"" : "\"") + std::to_string(i) + "\":1";
  EXPECT_EQ(chat_error(with_messages("\"logit_bias\":{" + many + "}")),
            "field \"logit_bias\" may be of 1024 tokens at most");
}

TEST(OpenAiChat, FieldsThatChangeNothingPass) {
  EXPECT_EQ(chat_error(with_messages(
                R"("n":1,"best_of":1,"logit_bias":{},"grammar":null,"functions":[],"echo":false,)"
                R"("min_tokens":0,"length_penalty":1.0,"chat_template":"","lora":[],"user":"me",)"
                R"("modalities":["text"],"n_predict":-1,"skip_special_tokens":true,"format":"",)"
                R"("unknown":{"a":[1]},"metadata":{"k":"v"},"store":false)")),
            "no error");
}

TEST(OpenAiChat, WhatOtherClientsSayOfSamplingCounts) {
  const ModelOptions options =
      parse_chat_completion(
          with_messages(R"("options":{"temperature":0.25,"num_ctx":64,"top_p":0.5},"top_p":0.75,)"
                        R"("top_k":-1,"min_p":0.125,"repetition_penalty":1.5,"keep_alive":"5m",)"
                        R"("typical_p":0.5,"repeat_last_n":32)"))
          .options;
  EXPECT_EQ(options.temperature, 0.25f);
  EXPECT_EQ(options.num_ctx, 64);
  EXPECT_EQ(options.top_p, 0.75f);
  EXPECT_EQ(options.top_k, 0);
  EXPECT_EQ(options.min_p, 0.125f);
  EXPECT_EQ(options.typical_p, 0.5f);
  EXPECT_EQ(options.repeat_last_n, 32);
  EXPECT_EQ(options.repeat_penalty, 1.5f);
}

TEST(OpenAiChat, NoTokensAtAllMayBeAskedFor) {
  engine::Request request;
  apply_options(parse_chat_completion(with_messages(R"("max_tokens":0)")).options, request);
  EXPECT_EQ(request.max_tokens, 0);
  apply_options(parse_chat_completion(with_messages(R"("max_tokens":-1)")).options, request);
  EXPECT_EQ(request.max_tokens, -1);
  apply_options(parse_options(parse_json(R"({"num_predict":0})")), request);
  EXPECT_EQ(request.max_tokens, -1);  // as with Ollama
}

TEST(OpenAiChat, PenaltiesSeeOnlyWhatWasSampled) {
  const ModelOptions of_model = parse_options(parse_json(R"({"presence_penalty":1})"));
  EXPECT_TRUE(to_sampling(of_model).penalize_prompt);
  const ModelOptions asked =
      parse_chat_completion(with_messages("\"frequency_penalty\":1")).options;
  EXPECT_FALSE(to_sampling(merge_options(of_model, asked)).penalize_prompt);
}

TEST(OpenAiChat, AToolMessageHasTheNameOfTheLatestCallWithItsId) {
  const auto call = [](const std::string& name) {
    return R"({"role":"assistant","content":null,"tool_calls":[{"id":"1","function":{"name":")" +
           name + R"("}}]})";
  };
  const std::string answer = R"({"role":"tool","tool_call_id":"1","content":"x"})";
  const std::string other = R"({"role":"tool","tool_call_id":"2","content":"x"})";
  const auto messages =
      parse_chat_completion(R"({"model":"m","messages":[)" + call("f") + "," + answer + "," +
                            call("g") + "," + answer + "," + other + "]}")
          .messages;
  EXPECT_EQ(messages[1].tool_name, "f");
  EXPECT_EQ(messages[3].tool_name, "g");
  EXPECT_EQ(messages[4].tool_name, "");
}

std::unique_ptr<Dialect> sample_chat(bool include_usage = false) {
  auto dialect = make_chat_completion(kStamp);
  parse(*dialect, with_messages(std::string(R"("stream_options":{"include_usage":)") +
                                (include_usage ? "true" : "false") + "}"));
  return dialect;
}

std::unique_ptr<Dialect> sample_completion() {
  auto dialect = make_completion(kStamp);
  parse(*dialect, R"({"model":"m","prompt":"x"})");
  return dialect;
}

// As the last piece of several.
std::unique_ptr<Dialect> sample_chat_under_way(bool include_usage = false) {
  auto dialect = sample_chat(include_usage);
  dialect->piece({});
  return dialect;
}

const std::string kHead =
    R"({"id":"chatcmpl-7","object":"chat.completion.chunk","created":1,"model":"m",)"
    R"("system_fingerprint":"fp_sluice","choices":[)";

std::vector<TextOrTokens> prompts_of(const std::string& prompt) {
  GenerationRequest request = parse_completion(R"({"model":"m","prompt":)" + prompt + "}");
  std::vector<TextOrTokens> prompts;
  for (size_t i = 0; i < request.num_prompts(); ++i) {
    if (i > 0) request.take_other_prompt(i);
    if (request.prompt_tokens) {
      prompts.emplace_back(*request.prompt_tokens);
    } else {
      prompts.emplace_back(request.prompt);
    }
  }
  return prompts;
}

TEST(OpenAiCompletion, HasFourFormsOfPrompts) {
  using Prompts = std::vector<TextOrTokens>;
  using Tokens = std::vector<text::TokenId>;
  EXPECT_EQ(prompts_of(R"("a")"), Prompts{"a"});
  EXPECT_EQ(prompts_of(R"(["a","b"])"), (Prompts{"a", "b"}));
  EXPECT_EQ(prompts_of("[1,2]"), (Prompts{Tokens{1, 2}}));
  EXPECT_EQ(prompts_of("[[1,2],[3]]"), (Prompts{Tokens{1, 2}, Tokens{3}}));
  EXPECT_EQ(prompts_of(R"("")"), Prompts{""});
  EXPECT_EQ(prompts_of("null"), Prompts{""});
  for (const char* wrong : {"5", "[1,\"a\"]", "[[]]", "[[\"a\"]]", "[-1]", "[1.5]", "{}", "[null]",
                            "[99999999999]", "true"}) {
    EXPECT_THROW(prompts_of(wrong), Error) << wrong;
  }
  std::string many = "[\"a\"";
  for (int i = 0; i < 128; ++i) many += ",\"a\"";
  EXPECT_THROW(prompts_of(many + "]"), Error);
  EXPECT_FALSE(parse_completion(R"({"model":"m","prompt":""})").is_load_only);
}

ReplyEnd sample_end() {
  ReplyEnd end;
  end.num_prompt_tokens = 9;
  end.num_cached_tokens = 2;
  end.num_output_tokens = 4;
  return end;
}

std::string whole(Dialect& dialect, const ReplyPiece& piece, const ReplyEnd& end = sample_end()) {
  const Choice choice = {piece, end};
  return dialect.whole({&choice, 1});
}

// As a stream and as a whole.
std::string reason_of(engine::FinishReason reason, const ReplyPiece& piece) {
  ReplyEnd end;
  end.reason = reason;
  const Json json = parse_json(whole(*sample_chat(), piece, end));
  const auto text = json["choices"][0]["finish_reason"].get<std::string>();
  const auto dialect = sample_chat();
  dialect->piece(piece);
  EXPECT_NE(dialect->end(end).find(R"("finish_reason":")" + text + "\""), std::string::npos);
  return text;
}

const std::string kExplained =
    R"("sluice":{"finish_reason":"end_of_sequence","cached_tokens":2,"dropped_tokens":0,)"
    R"("shifted_tokens":0,"draft_tokens":0,"accepted_tokens":0,"queue_position":0,)"
    R"("queued_duration":0})";
const std::string kUsage = R"("usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,)"
                           R"("prompt_tokens_details":{"cached_tokens":2},)"
                           R"("completion_tokens_details":{"reasoning_tokens":0}})";

TEST(OpenAiEncode, Stream) {
  ReplyPiece piece;
  piece.content = "Hi";
  EXPECT_EQ(
      sample_chat()->piece(piece),
      "data: " + kHead +
          R"({"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}]})" +
          "\n\n");
  EXPECT_EQ(
      sample_chat_under_way()->piece({}),
      "data: " + kHead + R"({"index":0,"delta":{"content":""},"finish_reason":null}]})" + "\n\n");
  const std::string end = "data: " + kHead + R"({"index":0,"delta":{},"finish_reason":"stop"}],)" +
                          kExplained + "}\n\n";
  EXPECT_EQ(sample_chat_under_way()->end(sample_end()), end + "data: [DONE]\n\n");
  EXPECT_EQ(sample_chat_under_way(true)->end(sample_end()),
            end + "data: " + kHead + "]," + kUsage + "}\n\ndata: [DONE]\n\n");
}

TEST(OpenAiEncode, ThinkingHasAnEventOfItsOwn) {
  ReplyPiece piece;
  piece.thinking = "hm";
  piece.content = "Hi";
  EXPECT_EQ(
      sample_chat()->piece(piece),
      "data: " + kHead +
          R"({"index":0,"delta":{"role":"assistant","content":"","reasoning":"hm","reasoning_content":"hm"},"finish_reason":null}]})"
          "\n\ndata: " +
          kHead + R"({"index":0,"delta":{"content":"Hi"},"finish_reason":null}]})" + "\n\n");
}

TEST(OpenAiEncode, ToolCalls) {
  ReplyPiece piece;
  ToolCall call;
  call.id = "call_x";
  call.name = "f";
  call.arguments = parse_json(R"({"a":1})");
  piece.tool_calls = {call};
  EXPECT_EQ(sample_chat_under_way()->piece(piece),
            "data: " + kHead +
                R"({"index":0,"delta":{"content":"","tool_calls":[{"id":"call_x","index":0,)"
                R"("type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},)"
                R"("finish_reason":null}]})"
                "\n\n");
  EXPECT_NE(whole(*sample_chat(), piece).find(R"("content":null,"tool_calls":[{"id":"call_x",)"),
            std::string::npos);
  EXPECT_EQ(reason_of(engine::FinishReason::kEndOfSequence, piece), "tool_calls");
  EXPECT_EQ(reason_of(engine::FinishReason::kMaxTokens, piece), "length");
}

TEST(OpenAiEncode, WholeReply) {
  ReplyPiece piece;
  piece.content = "Hi";
  piece.logprobs = {{"Hi", -0.5, {}}};
  EXPECT_EQ(whole(*sample_chat(), piece),
            R"({"id":"chatcmpl-7","object":"chat.completion","created":1,"model":"m",)"
            R"("system_fingerprint":"fp_sluice","choices":[{"index":0,)"
            R"("message":{"role":"assistant","content":"Hi"},"finish_reason":"stop",)"
            R"("logprobs":{"content":[{"token":"Hi","logprob":-0.5,"bytes":[72,105],)"
            R"("top_logprobs":[]}]}}],)" +
                kUsage + "," + kExplained + "}");
}

TEST(OpenAiEncode, Completions) {
  ReplyPiece piece;
  piece.content = "Hi";
  EXPECT_EQ(whole(*sample_completion(), piece),
            R"({"id":"cmpl-7","object":"text_completion","created":1,"model":"m",)"
            R"("system_fingerprint":"fp_sluice",)"
            R"("choices":[{"text":"Hi","index":0,"finish_reason":"stop"}],)" +
                kUsage + "," + kExplained + "}");
  EXPECT_NE(sample_completion()->piece(piece).find(R"("finish_reason":null)"), std::string::npos);
  EXPECT_TRUE(sample_completion()->end(sample_end()).ends_with("data: [DONE]\n\n"));
}

TEST(OpenAiEncode, SeveralPromptsHaveAChoiceEach) {
  const std::string body =
      R"({"model":"m","prompt":["x","y"],"stream_options":{"include_usage":true}})";
  auto dialect = make_completion(kStamp);
  parse(*dialect, body);
  ReplyPiece piece;
  piece.content = "Hi";
  piece.index = 1;
  EXPECT_NE(dialect->piece(piece).find(R"({"text":"Hi","index":1,)"), std::string::npos);
  ReplyEnd end = sample_end();
  end.index = 1;
  const std::string first_end = dialect->end(end);
  EXPECT_NE(first_end.find(R"({"text":"","index":1,"finish_reason":"stop"})"), std::string::npos);
  EXPECT_EQ(first_end.find("[DONE]"), std::string::npos);
  const std::string last_end = dialect->end(sample_end());
  EXPECT_NE(last_end.find(R"("prompt_tokens":18,"completion_tokens":8)"), std::string::npos);
  EXPECT_TRUE(last_end.ends_with("data: [DONE]\n\n"));

  dialect = make_completion(kStamp);
  parse(*dialect, body);
  const Choice choices[] = {{piece, end}, {piece, end}};
  const Json whole = parse_json(dialect->whole(choices));
  EXPECT_EQ(whole["choices"].size(), 2u);
  EXPECT_EQ(whole["usage"]["total_tokens"], 26);
}

TEST(OpenAiEncode, ChoicesOfAChatHaveTheirIndexAndShareTheirPrompt) {
  const std::string body = with_messages(R"("n":2,"stream_options":{"include_usage":true})");
  auto dialect = make_chat_completion(kStamp);
  parse(*dialect, body);
  ReplyPiece piece;
  piece.content = "Hi";
  const std::string role = R"("delta":{"role":"assistant","content":"Hi"})";
  for (const int index : {1, 0}) {
    piece.index = index;
    EXPECT_NE(dialect->piece(piece).find("{\"index\":" + std::to_string(index) + "," + role),
              std::string::npos);
  }
  EXPECT_EQ(dialect->piece(piece).find("role"), std::string::npos);
  ReplyEnd end = sample_end(), second_end = sample_end();
  end.num_thinking_tokens = 3;
  second_end.index = 1;
  second_end.shares_prompt = true;
  piece.tool_calls.resize(1);
  dialect->piece(piece);  // of the first one
  EXPECT_NE(dialect->end(second_end).find(R"("index":1,"delta":{},"finish_reason":"stop")"),
            std::string::npos);
  const std::string last = dialect->end(end);
  EXPECT_NE(last.find(R"("index":0,"delta":{},"finish_reason":"tool_calls")"), std::string::npos);
  EXPECT_NE(last.find(R"("prompt_tokens":9,"completion_tokens":8,"total_tokens":17)"),
            std::string::npos);
  EXPECT_NE(last.find(R"("reasoning_tokens":3)"), std::string::npos);
  EXPECT_TRUE(last.ends_with("data: [DONE]\n\n"));

  dialect = make_chat_completion(kStamp);
  parse(*dialect, body);
  const Choice choices[] = {{piece, end}, {piece, second_end}};
  const Json whole = parse_json(dialect->whole(choices));
  EXPECT_EQ(whole["choices"][1]["index"], 1);
  EXPECT_EQ(whole["usage"]["prompt_tokens"], 9);
  EXPECT_EQ(whole["usage"]["completion_tokens_details"]["reasoning_tokens"], 3);
}

TEST(OpenAiEncode, LogprobsOfCompletionsAreLists) {
  auto dialect = make_completion(kStamp);
  parse(*dialect, R"({"model":"m","prompt":"x","logprobs":2})");
  ReplyPiece piece;
  piece.logprobs = {{"\xE6\x97", -0.5, {{"\xE6\x97", -0.5, {}}, {"a\"", -1.5, {}}}},
                    {"\xA5", -0.25, {}}};
  const auto lists_of = [](const std::string& event) {
    return parse_json(std::string_view(event).substr(6))["choices"][0]["logprobs"];
  };
  EXPECT_EQ(dump_json(lists_of(dialect->piece(piece))),
            R"({"tokens":["bytes:\\xe6\\x97","bytes:\\xa5"],"token_logprobs":[-0.5,-0.25],)"
            R"("top_logprobs":[{"bytes:\\xe6\\x97":-0.5,"a\"":-1.5},{}],"text_offset":[0,1]})");
  piece.logprobs = {{"ab", -1, {}}};
  EXPECT_EQ(lists_of(dialect->piece(piece))["text_offset"], Json::array({1}));
  EXPECT_EQ(lists_of(dialect->piece(piece))["text_offset"], Json::array({3}));

  dialect = make_completion(kStamp);
  parse(*dialect, R"({"model":"m","prompt":"x","logprobs":0})");
  EXPECT_EQ(lists_of(dialect->piece(piece))["top_logprobs"], nullptr);
}

TEST(OpenAiEncode, ModelsAndErrors) {
  EXPECT_EQ(encode_models({}), R"({"object":"list","data":[]})");
  EXPECT_EQ(encode_models({{"m:latest", 5, "library"}, {"n:1", 6, "me"}}),
            R"({"object":"list","data":[)"
            R"({"id":"m:latest","object":"model","created":5,"owned_by":"library"},)"
            R"({"id":"n:1","object":"model","created":6,"owned_by":"me"}]})");
  EXPECT_EQ(sample_chat()->stream_error(500, "x\ny"),
            "data: "
            R"({"error":{"message":"x\ny","type":"api_error","param":null,"code":null}})"
            "\n\n");
}

TEST(OpenAiEncode, TheWaitIsAComment) {
  Waiting waiting;
  waiting.is_loading = true;
  waiting.load_progress = 0.42;
  EXPECT_EQ(sample_chat()->waiting(waiting), ": loading 42%\n\n");
  waiting = {};
  waiting.place = {3, std::chrono::milliseconds(1200)};
  EXPECT_EQ(sample_chat()->waiting(waiting), ": queue position 3, about 1.2 s\n\n");
}

TEST(OpenAiEncode, WhateverCutsAReplyIsLength) {
  using engine::FinishReason;
  ReplyPiece piece;
  EXPECT_EQ(reason_of(FinishReason::kDeadline, piece), "length");
  piece.tool_calls.emplace_back();
  EXPECT_EQ(reason_of(FinishReason::kContextFull, piece), "length");
}

TEST(OpenAiParse, RepliesDoNotShiftTheirContextAndMayCarryOurFields) {
  const GenerationRequest request = parse_completion(
      R"({"model":"m","prompt":"x","timeout":1.5,"speculate":true,"queue_events":true})");
  EXPECT_FALSE(request.shift);
  EXPECT_EQ(request.extensions.timeout, std::chrono::milliseconds(1500));
  EXPECT_EQ(request.extensions.speculate, true);
  EXPECT_TRUE(request.extensions.wants_queue_events);
}

}  // namespace
}  // namespace sluice::api::openai
