// What parsing a request costs in memory, and that it fails as an error when there is none.

#include <gtest/gtest.h>

#include <cstdint>

#include "api/anthropic.h"
#include "api/embedding.h"
#include "api/ollama.h"
#include "api/openai.h"
#include "memory_faults.h"

namespace sluice::api {
namespace {

std::string listed(const std::string& item, size_t count) {
  std::string list = "[" + item;
  for (size_t i = 1; i < count; ++i) list += "," + item;
  return list + "]";
}

// How many bytes are allocated for each byte of the body.
double cost_of(MakeDialect make, const std::string& body) {
  const auto dialect = make({});
  Work work;
  const uint64_t before = test::num_bytes_allocated;
  try {
    dialect->parse(body, work);
  } catch (const Error&) {
    // refused after it was read
  }
  return static_cast<double>(test::num_bytes_allocated - before) / static_cast<double>(body.size());
}

TEST(ParsingMemory, IsAFewTimesTheBodyWhateverItsShape) {
  const std::string start = R"({"model":"m","messages":)";
  const std::string call =
      R"({"role":"assistant","content":null,"tool_calls":[{"id":"a","function":{"name":"f"}}]})";
  // Members behind a large one, at every depth: an object that grows must not copy what it has.
  std::string nested = listed("\"text\"", 20'000);
  for (int i = 0; i < 100; ++i) nested = R"({"a":)" + nested + R"(,"b":1,"c":1,"d":1,"e":1})";
  std::string names = "{";
  for (int i = 0; i < 20'000; ++i) {
    names += (i == 0 ? "\"" : ",\"") + std::string("a long common beginning of names ") +
             std::to_string(i % 15'000) + "\":1";
  }
  names += "}";
  const std::string bodies[] = {
      start + R"([{"role":"user","content":")" + std::string(1'000'000, 'x') + R"("}]})",
      start + listed(R"({"role":"tool","tool_call_id":"b","content":"x"})", 20'000) + "}",
      start + listed(call, 10'000) + "}",
      start + "[],\"unknown\":" + nested + "}",
      start + "[],\"unknown\":" + names + "}",
      start + R"([{"role":"user","content":"x"}],"tools":)" +
          listed(R"({"function":{"name":"f","parameters":{"type":"object"}}})", 10'000) + "}",
  };
  for (const MakeDialect make :
       {MakeDialect{ollama::make_chat}, MakeDialect{ollama::make_generate},
        MakeDialect{openai::make_chat_completion}, MakeDialect{anthropic::make_messages}}) {
    for (const std::string& body : bodies) {
      EXPECT_LT(cost_of(make, body), 40) << body.substr(0, 100);
    }
  }
}

// Lets every allocation fail, from the first, the second, ... on until the end: what was begun must
// be taken apart without any.
template <typename Function>
void fail_at_each_allocation(const Function& function) {
  int64_t num_allowed = 0;
  for (bool is_done = false; !is_done; ++num_allowed) {
    ASSERT_LT(num_allowed, 100'000);
    test::memory_faults = {.num_good = num_allowed, .num_failures = test::MemoryFaults::kAll};
    try {
      function();
      is_done = true;
    } catch (const std::bad_alloc&) {
      // as it should be
    }
    test::memory_faults = {};
  }
  EXPECT_GT(num_allowed, 10);
}

const std::string kChat =
    R"({"model":"a model with a long name","unknown":{"a":[1,{"b":[[],{}]}],"a":"twice"},
        "tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"a":{}}}}}],
        "stop":["one of the stop strings","another stop string"],
        "messages":[{"role":"user","content":"a text that is longer than a few bytes"},
        {"role":"assistant","content":"","tool_calls":[{"id":"1","function":{"name":"f",
        "arguments":ARGUMENTS}}]},{"role":"tool","content":"x","tool_call_id":"1"}]})";

TEST(ParsingMemory, WithoutAnyIsAnError) {
  const auto chat = [](const std::string& arguments) {
    std::string body = kChat;
    return body.replace(body.find("ARGUMENTS"), 9, arguments);
  };
  const std::pair<MakeDialect, std::string> dialects[] = {
      {ollama::make_chat, chat(R"({"a":[1,2,{"b":{}}]})")},
      {openai::make_chat_completion, chat(R"("{\"a\":[1,2,{\"b\":{}}]}")")},
      {ollama::make_generate,
       R"({"model":"m","prompt":"a text that is longer than a few bytes","context":[1,2,3]})"},
      {openai::make_completion,
       R"({"model":"m","prompt":["a text that is longer than a few bytes","x"],"stop":"x"})"},
      {anthropic::make_messages,
       R"({"model":"m","max_tokens":9,"system":[{"type":"text","text":"be brief, be very brief"}],
           "messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]})"},
  };
  for (const auto& [make, body] : dialects) {
    fail_at_each_allocation([&] {
      const auto dialect = make({});
      Work work;
      dialect->parse(body, work);
    });
  }
}

TEST(WritingMemory, WithoutAnyIsAnError) {
  Choice choice;
  choice.piece.content = "a text that is longer than a few bytes, and \"escaped\"";
  choice.piece.tool_calls.resize(2);
  choice.piece.tool_calls[0].arguments = parse_json(R"({"a":[1,2,{"b":{}}]})");
  choice.piece.logprobs = {{"token", -1, {{"token", -1, {}}, {"other", -2, {}}}}};
  choice.end.reason = engine::FinishReason::kStopString;
  choice.end.stop_string = "one of the stop strings";
  choice.end.context = {1, 2, 3};
  const auto now = [] { return TimePoint(); };
  for (const MakeDialect make :
       {MakeDialect{ollama::make_chat}, MakeDialect{ollama::make_generate},
        MakeDialect{openai::make_chat_completion}, MakeDialect{openai::make_completion},
        MakeDialect{anthropic::make_messages}}) {
    fail_at_each_allocation([&] {
      const auto dialect = make({"0123456789abcdef01234567", now});
      Work work;
      dialect->parse(R"({"model":"m","max_tokens":9,"prompt":"x","messages":[
                         {"role":"user","content":"x"}]})",
                     work);
      dialect->first(5);
      dialect->piece(choice.piece);
      dialect->end(choice.end);
      dialect->whole({&choice, 1});
      dialect->stream_error(500, "a text that is longer than a few bytes");
    });
  }
}

}  // namespace
}  // namespace sluice::api
