#include "api/openai_responses.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"

namespace sluice::api::openai {
namespace {

class Memory : public ResponseMemory {
 public:
  std::shared_ptr<const KeptResponse> find(const std::string& id) override {
    const auto found = kept.find(id);
    return found == kept.end() ? nullptr : found->second;
  }
  void keep(KeptResponse response) override {
    const std::string id = response.id;
    kept[id] = std::make_shared<const KeptResponse>(std::move(response));
  }

  std::map<std::string, std::shared_ptr<const KeptResponse>> kept;
};

class ResponsesTest : public testing::Test {
 protected:
  std::unique_ptr<Dialect> make(const std::string& id = "0123456789abcdef01234567") {
    return make_response({id, [] { return TimePoint(std::chrono::seconds(1000)); }}, memory_);
  }
  static GenerationRequest parse(Dialect& dialect, const std::string& body) {
    Work work;
    return dialect.parse(body, work);
  }
  GenerationRequest parse(const std::string& rest) {
    return parse(*make(), R"({"model":"m",)" + rest + "}");
  }
  std::string error_of(const std::string& rest) {
    try {
      parse(rest);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  static ReplyPiece text_piece(const std::string& text) {
    ReplyPiece piece;
    piece.content = text;
    return piece;
  }
  static ReplyPiece thinking_piece(const std::string& text) {
    ReplyPiece piece;
    piece.thinking = text;
    return piece;
  }
  static ReplyPiece call_piece(const std::string& id, const std::string& name) {
    ReplyPiece piece;
    ToolCall& call = piece.tool_calls.emplace_back();
    call.id = id;
    call.name = name;
    call.arguments = Json({{"city", "Paris"}});
    return piece;
  }
  static ReplyEnd end(engine::FinishReason reason = engine::FinishReason::kEndOfSequence) {
    ReplyEnd end;
    end.reason = reason;
    end.num_prompt_tokens = 7;
    end.num_cached_tokens = 2;
    end.num_output_tokens = 3;
    return end;
  }

  // The data of events, whose type and number are checked.
  static std::vector<Json> events_of(const std::string& text) {
    std::vector<Json> events;
    size_t start = 0;
    while (start < text.size()) {
      const size_t stop = text.find("\n\n", start);
      const std::string event = text.substr(start, stop - start);
      const size_t data = event.find("\ndata: ");
      events.push_back(parse_json(event.substr(data + 7)));
      EXPECT_EQ(event.substr(0, data), "event: " + events.back()["type"].get<std::string>());
      start = stop + 2;
    }
    for (size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i]["sequence_number"], i);
    return events;
  }
  static std::vector<std::string> types_of(const std::vector<Json>& events) {
    std::vector<std::string> types;
    for (const Json& event : events) types.push_back(event["type"]);
    return types;
  }

  Memory memory_;
};

TEST_F(ResponsesTest, TakesTextAndItems) {
  const GenerationRequest text = parse(R"("input":"hi","instructions":"Be brief.")");
  ASSERT_EQ(text.messages.size(), 2u);
  EXPECT_EQ(text.messages[0].role, "system");
  EXPECT_EQ(text.messages[0].content, "Be brief.");
  EXPECT_EQ(text.messages[1].role, "user");
  EXPECT_FALSE(text.stream);
  EXPECT_FALSE(text.truncate);
  EXPECT_EQ(text.options.temperature, 1.0f);

  const GenerationRequest items = parse(R"("input":[
      {"role":"developer","content":"d"},
      {"type":"message","role":"user","content":[{"type":"input_text","text":"a"},
                                                 {"type":"input_text","text":"b"}]},
      {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}]},
      {"type":"function_call","id":"fc_1","call_id":"c1","name":"f","arguments":"{\"x\":1}"},
      {"type":"function_call","call_id":"c2","name":"g","arguments":""},
      {"type":"function_call_output","call_id":"c2","output":"two"},
      {"type":"function_call_output","call_id":"c1","output":[{"type":"input_text","text":"1"}]},
      {"type":"message","role":"assistant","id":"msg_1","status":"completed",
       "content":[{"type":"output_text","text":"so","annotations":[]}]},
      {"role":"user","content":"go on"}],
      "max_output_tokens":5,"temperature":0,"top_p":0.5,"truncation":"auto","stream":true,
      "reasoning":{"effort":"high"},"parallel_tool_calls":false)");
  ASSERT_EQ(items.messages.size(), 7u);
  EXPECT_EQ(items.messages[0].role, "system");
  EXPECT_EQ(items.messages[1].content, "a\nb");
  EXPECT_EQ(items.messages[2].role, "assistant");
  EXPECT_EQ(items.messages[2].thinking, "hm");
  ASSERT_EQ(items.messages[2].tool_calls.size(), 2u);
  EXPECT_EQ(dump_json(items.messages[2].tool_calls[0].arguments), R"({"x":1})");
  EXPECT_EQ(items.messages[3].role, "tool");
  EXPECT_EQ(items.messages[3].tool_name, "g");
  EXPECT_EQ(items.messages[4].content, "1");
  EXPECT_EQ(items.messages[5].content, "so");
  EXPECT_EQ(items.options.num_predict, 5);
  EXPECT_EQ(items.options.temperature, 0.0f);
  EXPECT_EQ(items.options.top_p, 0.5f);
  EXPECT_TRUE(items.truncate);
  EXPECT_TRUE(items.stream);
  EXPECT_FALSE(items.parallel_tool_calls);
  ASSERT_TRUE(items.think);
  EXPECT_EQ(items.think->level, "high");
}

TEST_F(ResponsesTest, TakesFormatsAndTools) {
  EXPECT_EQ(parse(R"("input":"a","text":{"format":{"type":"text"},"verbosity":"low"})").format.kind,
            FormatKind::kText);
  const GenerationRequest schema = parse(
      R"("input":"a","text":{"format":{"type":"json_schema","name":"n","strict":true,
         "schema":{"type":"object"}}})");
  EXPECT_EQ(schema.format.kind, FormatKind::kSchema);
  EXPECT_EQ(schema.format.text, R"({"type":"object"})");
  const GenerationRequest tools = parse(
      R"("input":"a","tools":[{"type":"web_search"},
         {"type":"function","name":"f","description":"d","parameters":{"type":"object"},
          "strict":true}],"tool_choice":"auto")");
  EXPECT_EQ(dump_json(tools.tools),
            R"([{"type":"function","function":{"name":"f","description":"d",)"
            R"("parameters":{"type":"object"},"strict":true}}])");
  EXPECT_TRUE(parse(R"("input":"a","tools":[{"type":"function","name":"f"}],"tool_choice":"none")")
                  .tools->empty());
}

TEST_F(ResponsesTest, LeavesOutSearchesThatAreOver) {
  const GenerationRequest request = parse(R"("input":[{"role":"user","content":"a"},
      {"type":"web_search_call","id":"w","status":"completed","action":{"query":"q"}},
      {"role":"assistant","content":"b"},{"role":"user","content":"c"}])");
  EXPECT_EQ(request.messages.size(), 3u);
}

TEST_F(ResponsesTest, FunctionsOfANamespaceBearItsName) {
  const GenerationRequest request = parse(R"("input":"x","tools":[{"type":"namespace","name":"git",
      "description":"d","tools":[{"type":"function","name":"log","parameters":{"type":"object"}},
      {"type":"function","name":"git.show"}]},{"type":"function","name":"f"}])");
  ASSERT_EQ(request.tools->size(), 3u);
  std::vector<std::string> names;
  for (const Json& tool : *request.tools) names.push_back(tool["function"]["name"]);
  EXPECT_EQ(names, (std::vector<std::string>{"git.log", "git.show", "f"}));
  EXPECT_EQ(error_of(R"("input":"x","tools":[{"type":"namespace","name":"git"}])"),
            "tools: a namespace needs its name and its tools");
  EXPECT_EQ(error_of(R"("input":"x","tools":[{"type":"namespace","name":"git","tools":[
                        {"type":"namespace","name":"in","tools":[]}]}])"),
            "tools of type \"namespace\" are not supported");
}

TEST_F(ResponsesTest, NamesWhatItRefuses) {
  for (const auto& [rest, word] : std::vector<std::pair<std::string, std::string>>{
           {R"("x":1)", "input"},
           {R"("input":[])", "empty"},
           {R"("input":5)", "input"},
           {R"("input":[5])", "input"},
           {R"("input":[{"type":"item_reference","id":"x"}])", "item_reference"},
           {R"("input":[{"role":"tool","content":"x"}])", "role"},
           {R"("input":[{"role":"user"}])", "content"},
           {R"("input":[{"role":"user","content":[{"type":"input_file"}]}])", "input_file"},
           {R"("input":[{"type":"function_call_output","call_id":"x","output":"y"}])", "call"},
           {R"("input":[{"type":"function_call","call_id":"x","name":"f","arguments":"["}])",
            "arguments"},
           {R"("input":[{"type":"function_call","name":"f"}])", "call_id"},
           {R"("input":"a","background":true)", "background"},
           {R"("input":"a","conversation":"c")", "conversation"},
           {R"("input":"a","prompt":{"id":"p"})", "prompt"},
           {R"("input":"a","tools":[{"type":"code_interpreter"}])", "code_interpreter"},
           {R"("input":"a","tools":[{"type":"function"}])", "name"},
           {R"("input":"a","max_output_tokens":0)", "max_output_tokens"},
           {R"("input":"a","reasoning":{"effort":"some"})", "effort"},
           {R"("input":"a","top_logprobs":21)", "top_logprobs"},
           {R"("input":"a","previous_response_id":"resp_x")", "resp_x"},
           {R"("input":"a","n":2)", "\"n\""}}) {
    EXPECT_NE(error_of(rest).find(word), std::string::npos) << rest << ": " << error_of(rest);
  }
}

TEST_F(ResponsesTest, AWholeResponseHasItsItems) {
  const auto dialect = make();
  parse(*dialect,
        R"({"model":"m","input":"a","metadata":{"k":"v"},"max_output_tokens":9,"user":"u"})");
  Choice choice;
  choice.piece = call_piece("call_1", "f");
  choice.piece.content = "text";
  choice.piece.thinking = "hm";
  choice.end = end();
  const Json body = parse_json(dialect->whole(std::span(&choice, 1)));
  EXPECT_EQ(body["id"], "resp_0123456789abcdef01234567");
  EXPECT_EQ(body["object"], "response");
  EXPECT_EQ(body["status"], "completed");
  EXPECT_EQ(body["created_at"], 1000);
  EXPECT_EQ(body["metadata"]["k"], "v");
  EXPECT_EQ(body["max_output_tokens"], 9);
  EXPECT_EQ(body["user"], "u");
  EXPECT_EQ(body["error"], nullptr);
  ASSERT_EQ(body["output"].size(), 3u);
  EXPECT_EQ(body["output"][0]["type"], "reasoning");
  EXPECT_EQ(body["output"][0]["summary"][0]["text"], "hm");
  EXPECT_EQ(body["output"][1]["role"], "assistant");
  EXPECT_EQ(body["output"][1]["content"][0]["type"], "output_text");
  EXPECT_EQ(body["output"][1]["content"][0]["text"], "text");
  EXPECT_EQ(body["output"][2]["call_id"], "call_1");
  EXPECT_EQ(body["output"][2]["arguments"], R"({"city":"Paris"})");
  EXPECT_EQ(body["usage"]["input_tokens"], 7);
  EXPECT_EQ(body["usage"]["input_tokens_details"]["cached_tokens"], 2);
  EXPECT_EQ(body["usage"]["total_tokens"], 10);
}

TEST_F(ResponsesTest, AStreamTellsEachItemFromItsStartToItsEnd) {
  const auto dialect = make();
  parse(*dialect, R"({"model":"m","input":"a","stream":true})");
  std::string text = dialect->first(7);
  text += dialect->piece(thinking_piece("h"));
  text += dialect->piece(thinking_piece("m"));
  text += dialect->piece(text_piece("one "));
  text += dialect->piece(text_piece("two"));
  text += dialect->piece(call_piece("call_1", "f"));
  text += dialect->end(end());
  const std::vector<Json> events = events_of(text);
  EXPECT_EQ(types_of(events), (std::vector<std::string>{"response.created",
                                                        "response.in_progress",
                                                        "response.output_item.added",
                                                        "response.reasoning_summary_part.added",
                                                        "response.reasoning_summary_text.delta",
                                                        "response.reasoning_summary_text.delta",
                                                        "response.reasoning_summary_text.done",
                                                        "response.reasoning_summary_part.done",
                                                        "response.output_item.done",
                                                        "response.output_item.added",
                                                        "response.content_part.added",
                                                        "response.output_text.delta",
                                                        "response.output_text.delta",
                                                        "response.output_text.done",
                                                        "response.content_part.done",
                                                        "response.output_item.done",
                                                        "response.output_item.added",
                                                        "response.function_call_arguments.delta",
                                                        "response.function_call_arguments.done",
                                                        "response.output_item.done",
                                                        "response.completed"}));
  EXPECT_EQ(events[0]["response"]["status"], "in_progress");
  EXPECT_EQ(events[6]["text"], "hm");
  EXPECT_EQ(events[9]["output_index"], 1);
  EXPECT_EQ(events[9]["item"]["id"], events[11]["item_id"]);
  EXPECT_EQ(events[13]["text"], "one two");
  EXPECT_EQ(events[15]["item"]["status"], "completed");
  EXPECT_EQ(events[19]["item"]["name"], "f");
  const Json& whole = events[20]["response"];
  ASSERT_EQ(whole["output"].size(), 3u);
  EXPECT_EQ(whole["output"][0], events[8]["item"]);
  EXPECT_EQ(whole["output"][1], events[15]["item"]);
  EXPECT_EQ(whole["output"][2], events[19]["item"]);
}

TEST_F(ResponsesTest, ACutReplyIsIncomplete) {
  const auto dialect = make();
  parse(*dialect, R"({"model":"m","input":"a","stream":true})");
  std::string text = dialect->first(7);
  text += dialect->piece(text_piece("one"));
  text += dialect->end(end(engine::FinishReason::kMaxTokens));
  const Json last = events_of(text).back();
  EXPECT_EQ(last["type"], "response.incomplete");
  EXPECT_EQ(last["response"]["status"], "incomplete");
  EXPECT_EQ(last["response"]["incomplete_details"]["reason"], "max_output_tokens");
  EXPECT_EQ(last["response"]["output"][0]["status"], "incomplete");
}

TEST_F(ResponsesTest, AnEmptyReplyIsAnEmptyMessage) {
  const auto dialect = make();
  parse(*dialect, R"({"model":"m","input":"a","stream":true})");
  std::string text = dialect->first(7);
  text += dialect->end(end());
  const std::vector<Json> events = events_of(text);
  EXPECT_EQ(events.back()["response"]["output"][0]["content"][0]["text"], "");
}

TEST_F(ResponsesTest, AFailureIsToldInTheStream) {
  const auto dialect = make();
  parse(*dialect, R"({"model":"m","input":"a","stream":true})");
  std::string text = dialect->first(7);
  text += dialect->piece(text_piece("one"));
  text += dialect->stream_error(500, "it broke");
  const Json last = events_of(text).back();
  EXPECT_EQ(last["type"], "response.failed");
  EXPECT_EQ(last["response"]["status"], "failed");
  EXPECT_EQ(last["response"]["error"]["message"], "it broke");
  EXPECT_TRUE(memory_.kept.empty());
}

TEST_F(ResponsesTest, TheNextOneGoesOnFromAResponse) {
  const auto first = make("first");
  parse(*first, R"({"model":"m","input":"one","instructions":"Be brief."})");
  Choice choice;
  choice.piece = call_piece("call_1", "f");
  choice.piece.content = "text";
  choice.end = end();
  const std::string body = first->whole(std::span(&choice, 1));
  ASSERT_EQ(memory_.kept.size(), 1u);
  EXPECT_EQ(memory_.kept["resp_first"]->body, body);

  const auto second = make("second");
  const GenerationRequest request = parse(*second, R"({"model":"m",
      "previous_response_id":"resp_first","instructions":"Be long.",
      "input":[{"type":"function_call_output","call_id":"call_1","output":"out"}]})");
  ASSERT_EQ(request.messages.size(), 4u);
  EXPECT_EQ(request.messages[0].content, "Be long.");
  EXPECT_EQ(request.messages[1].content, "one");
  EXPECT_EQ(request.messages[2].content, "text");
  EXPECT_EQ(request.messages[2].tool_calls.size(), 1u);
  EXPECT_EQ(request.messages[3].tool_name, "f");
  second->first(1);
  second->piece(text_piece("done"));
  second->end(end());
  EXPECT_EQ(memory_.kept["resp_second"]->messages.size(), 4u);
}

TEST_F(ResponsesTest, WhatIsNotToBeStoredIsNot) {
  const auto dialect = make();
  parse(*dialect, R"({"model":"m","input":"a","store":false})");
  Choice choice;
  choice.end = end();
  const Json body = parse_json(dialect->whole(std::span(&choice, 1)));
  EXPECT_EQ(body["store"], false);
  EXPECT_TRUE(memory_.kept.empty());
  const auto large = make();
  parse(*large, R"({"model":"m","input":")" + std::string(kMaxKeptBytes, 'x') + "\"}");
  EXPECT_EQ(parse_json(large->whole(std::span(&choice, 1)))["store"], false);
  EXPECT_TRUE(memory_.kept.empty());
}

TEST_F(ResponsesTest, LogprobsAreThereWhenAskedFor) {
  const auto dialect = make();
  const GenerationRequest request = parse(*dialect, R"({"model":"m","input":"a","stream":true,
      "include":["message.output_text.logprobs"],"top_logprobs":2})");
  EXPECT_EQ(request.num_top_logprobs, 2);
  ReplyPiece piece = text_piece("a");
  piece.logprobs.push_back({"a", -0.5, {{"a", -0.5, {}}, {"b", -1, {}}}});
  std::string text = dialect->first(1);
  text += dialect->piece(piece);
  text += dialect->end(end());
  const std::vector<Json> events = events_of(text);
  EXPECT_EQ(events[4]["logprobs"][0]["token"], "a");
  EXPECT_EQ(events[4]["logprobs"][0]["top_logprobs"].size(), 2u);
  EXPECT_EQ(events.back()["response"]["output"][0]["content"][0]["logprobs"].size(), 1u);
}

}  // namespace
}  // namespace sluice::api::openai
