#include "api/anthropic.h"

#include <gtest/gtest.h>

#include "api/json.h"
#include "base/error.h"

namespace sluice::api::anthropic {
namespace {

const Stamp kStamp = {"0123456789abcdef01234567", nullptr};

GenerationRequest parse(Dialect& dialect, std::string_view body) {
  Work work;
  return dialect.parse(body, work);
}

GenerationRequest parse_messages(std::string_view body) {
  return parse(*make_messages(kStamp), body);
}

std::string error_of(std::string_view body) {
  try {
    parse_messages(body);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string with(const std::string& fields) {
  return R"({"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}])" +
         (fields.empty() ? "" : "," + fields) + "}";
}

TEST(AnthropicMessages, ReadsAWholeRequest) {
  const GenerationRequest request = parse_messages(R"({
    "model": "m", "max_tokens": 9, "stream": true, "temperature": 0.5, "top_p": 0.25, "top_k": 7,
    "stop_sequences": ["x", "y"], "metadata": {"user_id": "me"}, "thinking": {"type": "enabled",
      "budget_tokens": 1024}, "output_config": {"effort": "high"},
    "system": [{"type": "text", "text": "be", "cache_control": {"type": "ephemeral"}},
               {"type": "text", "text": "brief"}],
    "messages": [
      {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
      {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"},
                                        {"type": "text", "text": "c"}]},
      {"role": "user", "content": "d"}]})");
  EXPECT_TRUE(request.is_chat);
  EXPECT_TRUE(request.stream);
  EXPECT_FALSE(request.shift);
  EXPECT_EQ(request.options.num_predict, 9);
  EXPECT_EQ(request.options.temperature, 0.5f);
  EXPECT_EQ(request.options.top_p, 0.25f);
  EXPECT_EQ(request.options.top_k, 7);
  EXPECT_EQ(request.options.stop, (std::vector<std::string>{"x", "y"}));
  ASSERT_TRUE(request.think);
  EXPECT_TRUE(request.think->is_enabled && request.think->is_wish);
  EXPECT_EQ(request.think->level, "high");
  ASSERT_EQ(request.messages.size(), 4u);
  EXPECT_EQ(request.messages[0].role, "system");
  EXPECT_EQ(request.messages[0].content, "be\nbrief");
  EXPECT_EQ(request.messages[1].content, "a\nb");
  EXPECT_EQ(request.messages[2].thinking, "hm");
  EXPECT_EQ(request.messages[2].content, "c");
  EXPECT_EQ(request.messages[3].content, "d");
}

TEST(AnthropicMessages, ReadsToolsAndTheirResults) {
  const GenerationRequest request = parse_messages(R"({
    "model": "m", "max_tokens": 9,
    "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}},
              {"type": "web_search_20250305", "name": "web_search"}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
    "messages": [
      {"role": "user", "content": "a"},
      {"role": "assistant", "content": [{"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"z": 1, "a": 2}},
        {"type": "tool_use", "id": "t2", "name": "f", "input": {}}]},
      {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "one"},
        {"type": "tool_result", "tool_use_id": "t2", "is_error": true,
         "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "three"}]},
        {"type": "text", "text": "and?"}]}]})");
  EXPECT_EQ(dump_json(request.tools),
            R"([{"type":"function","function":{"name":"f","description":"d",)"
            R"("parameters":{"type":"object"}}}])");
  EXPECT_EQ(request.tool_choice.kind, ToolChoice::Kind::kRequired);
  EXPECT_FALSE(request.parallel_tool_calls);
  ASSERT_EQ(request.messages.size(), 5u);
  EXPECT_EQ(request.messages[1].content, "I look.");
  ASSERT_EQ(request.messages[1].tool_calls.size(), 2u);
  EXPECT_EQ(request.messages[1].tool_calls[0].id, "t1");
  EXPECT_EQ(dump_json(request.messages[1].tool_calls[0].arguments), R"({"z":1,"a":2})");
  EXPECT_EQ(request.messages[2].role, "tool");
  EXPECT_EQ(request.messages[2].tool_call_id, "t1");
  EXPECT_EQ(request.messages[2].tool_name, "f");
  EXPECT_EQ(request.messages[3].content, "two\nthree");
  EXPECT_EQ(request.messages[4].role, "user");
  EXPECT_EQ(request.messages[4].content, "and?");
  // A message of results alone is no empty one of the user's besides.
  const GenerationRequest results = parse_messages(R"({"model": "m", "max_tokens": 9, "messages": [
      {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1"}]}]})");
  ASSERT_EQ(results.messages.size(), 1u);
  EXPECT_EQ(results.messages[0].role, "tool");
}

TEST(AnthropicMessages, PassesOverBlocksOfKindsThatItDoesNotKnow) {
  const GenerationRequest request = parse_messages(R"({"model": "m", "max_tokens": 9, "messages": [
      {"role": "user", "content": [{"type": "of next year", "x": 1}, {"type": "text", "text": "a"}]},
      {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "?"},
        {"type": "text", "text": "b"}]},
      {"role": "user", "content": "c"}]})");
  ASSERT_EQ(request.messages.size(), 3u);
  EXPECT_EQ(request.messages[0].content, "a");
  EXPECT_EQ(request.messages[1].content, "b");
}

TEST(AnthropicMessages, TakesSearchesOfAnotherServersForCallsOfATool) {
  const GenerationRequest request = parse_messages(R"({"model": "m", "max_tokens": 9, "messages": [
      {"role": "user", "content": "a"},
      {"role": "assistant", "content": [{"type": "text", "text": "I look."},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [
          {"type": "web_search_result", "title": "T", "url": "http://t", "encrypted_content": "?"},
          {"type": "web_search_result", "title": "U", "url": "http://u"}]},
        {"type": "text", "text": "Found."}]},
      {"role": "user", "content": "b"},
      {"role": "assistant", "content": [
        {"type": "server_tool_use", "id": "s2", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s2",
         "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"}}]},
      {"role": "user", "content": "c"}]})");
  std::vector<std::string> roles;
  for (const Message& message : request.messages) roles.push_back(message.role);
  EXPECT_EQ(roles, (std::vector<std::string>{"user", "assistant", "tool", "assistant", "user",
                                             "assistant", "tool", "user"}));
  EXPECT_EQ(request.messages[1].content, "I look.");
  ASSERT_EQ(request.messages[1].tool_calls.size(), 1u);
  EXPECT_EQ(request.messages[1].tool_calls[0].name, "web_search");
  EXPECT_EQ(request.messages[2].tool_call_id, "s1");
  EXPECT_EQ(request.messages[2].content, "T: http://t\nU: http://u");
  EXPECT_EQ(request.messages[3].content, "Found.");
  EXPECT_EQ(request.messages[6].content, "error: unavailable");
}

TEST(AnthropicMessages, LeavesWhatIsNotSaidToTheModel) {
  const GenerationRequest request = parse_messages(with(""));
  EXPECT_FALSE(request.stream);
  EXPECT_FALSE(request.options.temperature);
  EXPECT_FALSE(request.options.stop);
  EXPECT_FALSE(request.think);
  EXPECT_EQ(request.messages.size(), 1u);
}

TEST(AnthropicMessages, RefusesBadInputClearly) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "missing request body"},
      {"{}", "model is required"},
      {R"({"model":"m"})", "max_tokens is required and must be positive"},
      {R"({"model":"m","max_tokens":0})", "max_tokens is required and must be positive"},
      {R"({"model":"m","max_tokens":1})", "messages is required"},
      {R"({"model":"m","max_tokens":1,"messages":[]})", "messages is required"},
      {R"({"model":"m","max_tokens":1,"messages":[5]})", "messages: every one must be an object"},
      {R"({"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}],"seed":1})",
       "field \"seed\" is not supported; leave it out"},
      {R"({"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}],
        "response_format":{"type":"json_object"}})",
       "field \"response_format\" is not supported; leave it out"},
      {R"({"model":"m","max_tokens":1,"messages":[{"role":"tool","content":"x"}]})",
       "messages: the role must be \"user\" or \"assistant\""},
      {R"({"model":"m","max_tokens":1,"messages":[{"role":"user"}]})",
       "messages: every one needs a content"},
      {R"({"model":"m","max_tokens":1,"messages":[{"role":"user","content":5}]})",
       "messages: the content must be a string or a list of blocks"},
      {R"({"model":"m","max_tokens":1,"messages":[{"role":"user","content":["x"]}]})",
       "messages: every block must be an object"},
      {R"({"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[
        {"type":"tool_result","tool_use_id":"1"}]}]})",
       "messages: blocks of type \"tool_result\" are not supported"},
      {R"({"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[
        {"type":"tool_use","id":"1"}]}]})",
       "messages: a tool_use needs a name"},
      {R"({"model":"m","max_tokens":1,"messages":[{"role":"user","content":[
        {"type":"tool_result","tool_use_id":"1","content":[{"type":"image"}]}]}]})",
       "tool_result: blocks of type \"image\" are not supported"},
      {R"({"model":"m","max_tokens":1,"messages":[{"role":"user","content":[
        {"type":"image","source":{}}]}]})",
       "messages: blocks of type \"image\" are not supported"},
      {R"({"model":"m","max_tokens":1,"messages":[{"role":"user","content":[
        {"type":"document","source":{}}]}]})",
       "messages: blocks of type \"document\" are not supported"},
      {R"({"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":"x"}]})",
       "messages: the last one is the assistant's, and replies that go on behind it are not "
       "supported"},
      {with(R"("system":5)"), "system must be a string or a list of blocks"},
      {with(R"("stop_sequences":"x")"), "field \"stop_sequences\" must be a list"},
      {with(R"("stop_sequences":[1])"), "field \"stop_sequences\" must be a list of strings"},
      {with(R"("tools":[{"name":"f"}])"), "no error"},
      {with(R"("tools":[{}])"), "tools: every one needs a name"},
      {with(R"("tools":[3])"), "field \"tools\" must be a list of objects"},
      {with(R"("tools":[{"type":"bash_20250124","name":"bash"}])"),
       "tools: those of type \"bash_20250124\" are not supported"},
      {with(R"("tools":[{"name":"f"}],"tool_choice":{"type":"tool","name":"g"})"),
       "tool_choice names a tool that is not in \"tools\""},
      {with(R"("tool_choice":{"type":"any"})"),
       "tool_choice asks for a call, but there are no tools"},
      {with(R"("tool_choice":{"type":"some"})"),
       "tool_choice: the type must be \"auto\", \"any\", \"tool\" or \"none\""},
      {with(R"("thinking":{"type":"deep"})"),
       "thinking: the type must be \"enabled\", \"adaptive\" or \"disabled\""},
      {with(R"("output_config":{"format":{"type":"json_schema"}})"),
       "an output format must be {\"type\": \"json_schema\", \"schema\": ...}"},
      {with(R"("tools":[],"mcp_servers":[],"tool_choice":{"type":"auto"})"), "no error"},
  };
  for (const auto& [body, message] : cases) EXPECT_EQ(error_of(body), message) << body;
}

ReplyEnd end_by(engine::FinishReason reason, const std::string& stop = "") {
  ReplyEnd end;
  end.reason = reason;
  end.stop_string = stop;
  end.num_prompt_tokens = 9;
  end.num_output_tokens = 4;
  return end;
}

const std::string kExplained =
    R"("sluice":{"finish_reason":"max_tokens","cached_tokens":0,"dropped_tokens":0,)"
    R"("shifted_tokens":0,"draft_tokens":0,"accepted_tokens":0,"queue_position":0,)"
    R"("queued_duration":0})";

TEST(AnthropicReply, IsAStreamOfEvents) {
  const auto dialect = make_messages(kStamp);
  parse(*dialect, with(""));
  EXPECT_EQ(dialect->content_type(), "text/event-stream");
  EXPECT_EQ(dialect->first(9),
            "event: message_start\ndata: "
            R"({"type":"message_start","message":{"id":"msg_0123456789abcdef01234567",)"
            R"("type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,)"
            R"("stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":0}}})"
            "\n\n");
  ReplyPiece piece;
  EXPECT_EQ(dialect->piece(piece), "");  // nothing but log-probabilities, which nobody asked for
  piece.content = "Hi";
  const std::string delta =
      "event: content_block_delta\ndata: "
      R"({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}})"
      "\n\n";
  EXPECT_EQ(dialect->piece(piece),
            "event: content_block_start\ndata: "
            R"({"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}})"
            "\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n" +
                delta);
  EXPECT_EQ(dialect->piece(piece), delta);
  EXPECT_EQ(dialect->end(end_by(engine::FinishReason::kMaxTokens)),
            "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
            "event: message_delta\ndata: "
            R"({"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},)"
            R"("usage":{"input_tokens":9,"output_tokens":4},)" +
                kExplained + "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

TEST(AnthropicReply, ThinkingIsABlockOfItsOwn) {
  const auto dialect = make_messages(kStamp);
  parse(*dialect, with(""));
  ReplyPiece piece;
  piece.thinking = "hm";
  piece.content = "Hi";
  const std::string events = dialect->piece(piece);
  const size_t stop = events.find(R"({"type":"content_block_stop","index":0})");
  ASSERT_NE(stop, std::string::npos);
  EXPECT_LT(events.find(R"({"type":"thinking_delta","thinking":"hm"})"), stop);
  EXPECT_GT(events.find(R"("index":1,"content_block":{"type":"text","text":""})"), stop);
}

TEST(AnthropicReply, CallsAreBlocksOfTheirOwn) {
  const auto dialect = make_messages(kStamp);
  parse(*dialect, with(""));
  ReplyPiece text, calls;
  text.content = "Hi";
  calls.tool_calls.resize(2);
  calls.tool_calls[0].id = "t1";
  calls.tool_calls[0].name = "f";
  calls.tool_calls[0].arguments = parse_json(R"({"z":1,"a":"x"})");
  dialect->piece(text);
  const std::string events = dialect->piece(calls);
  const std::string first =
      "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
      "event: content_block_start\ndata: "
      R"({"type":"content_block_start","index":1,)"
      R"("content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}})"
      "\n\nevent: content_block_delta\ndata: "
      R"({"type":"content_block_delta","index":1,)"
      R"("delta":{"type":"input_json_delta","partial_json":"{\"z\":1,\"a\":\"x\"}"}})"
      "\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\n";
  EXPECT_EQ(events.substr(0, first.size()), first);
  EXPECT_NE(dialect->end(end_by(engine::FinishReason::kEndOfSequence))
                .find(R"("stop_reason":"tool_use")"),
            std::string::npos);
  const Choice choice = {calls, end_by(engine::FinishReason::kEndOfSequence)};
  const Json whole = parse_json(dialect->whole({&choice, 1}));
  EXPECT_EQ(dump_json(whole["content"][0]),
            R"({"type":"tool_use","id":"t1","name":"f","input":{"z":1,"a":"x"}})");
  EXPECT_EQ(whole["stop_reason"], "tool_use");
}

TEST(AnthropicReply, IsOneObject) {
  const auto dialect = make_messages(kStamp);
  parse(*dialect, with(""));
  Choice choice;
  choice.piece.content = "Hi";
  choice.end = end_by(engine::FinishReason::kMaxTokens);
  EXPECT_EQ(dialect->whole({&choice, 1}),
            R"({"id":"msg_0123456789abcdef01234567","type":"message","role":"assistant",)"
            R"("model":"m","content":[{"type":"text","text":"Hi"}],"stop_reason":"max_tokens",)"
            R"("stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":4},)" +
                kExplained + "}");
  choice.piece = {};
  EXPECT_EQ(parse_json(dialect->whole({&choice, 1}))["content"], Json::array());
}

TEST(AnthropicReply, SaysWhyItEnded) {
  using engine::FinishReason;
  const auto reason_of = [](const ReplyEnd& end) {
    const auto dialect = make_messages(kStamp);
    parse(*dialect, with(R"("stop_sequences":["x"])"));
    const Choice choice = {{}, end};
    const Json json = parse_json(dialect->whole({&choice, 1}));
    return dump_json(json["stop_reason"]) + dump_json(json["stop_sequence"]);
  };
  EXPECT_EQ(reason_of(end_by(FinishReason::kEndOfSequence)), R"("end_turn"null)");
  EXPECT_EQ(reason_of(end_by(FinishReason::kStopString, "x")), R"("stop_sequence""x")");
  EXPECT_EQ(reason_of(end_by(FinishReason::kStopString, "<|model's own|>")), R"("end_turn"null)");
  EXPECT_EQ(reason_of(end_by(FinishReason::kContextFull)), R"("max_tokens"null)");
  EXPECT_EQ(reason_of(end_by(FinishReason::kDeadline)), R"("max_tokens"null)");
}

TEST(AnthropicCount, IsOfTheSameRequestWithoutWhatIsAboutTheReply) {
  const auto dialect = make_count_tokens(kStamp);
  const GenerationRequest request = parse(*dialect, R"({"model":"m","system":"be","stream":true,
      "tools":[{"name":"f"}],"messages":[{"role":"user","content":"hi"}]})");
  EXPECT_TRUE(request.is_count_only);
  EXPECT_FALSE(request.stream);
  EXPECT_EQ(request.messages.size(), 2u);
  EXPECT_EQ(request.tools->size(), 1u);
  EXPECT_EQ(dialect->counted(17), R"({"input_tokens":17})");
  EXPECT_THROW(parse(*dialect, R"({"model":"m","messages":[]})"), Error);
  EXPECT_THROW(parse(*dialect, R"({"messages":[{"role":"user","content":"hi"}]})"), Error);
}

TEST(AnthropicErrors, HaveTheirOwnForm) {
  const std::pair<int, std::string> types[] = {
      {400, "invalid_request_error"}, {403, "permission_error"}, {404, "not_found_error"},
      {413, "request_too_large"},     {500, "api_error"},        {503, "overloaded_error"},
      {504, "timeout_error"},
  };
  for (const auto& [status, type] : types) {
    EXPECT_EQ(error_body(status, "x"),
              R"({"type":"error","error":{"type":")" + type + R"(","message":"x"}})");
  }
  EXPECT_EQ(error_body(404, "x", "req_1"),
            R"({"type":"error","error":{"type":"not_found_error","message":"x"},)"
            R"("request_id":"req_1"})");
  EXPECT_EQ(make_messages(kStamp)->stream_error(500, "x"),
            "event: error\ndata: " + error_body(500, "x") + "\n\n");
}

}  // namespace
}  // namespace sluice::api::anthropic
