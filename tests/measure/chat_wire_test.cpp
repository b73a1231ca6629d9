#include "measure/chat_wire.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "http/scripted_server.h"

namespace sluice::measure {
namespace {

using nlohmann::json;

TEST(ChatWire, OllamaRequestCarriesOnlyTheOptionsThatWereSet) {
  const http::Request plain = make_chat_request(Api::kOllama, {.model = "m", .prompt = "hi"});
  EXPECT_EQ(plain.method, "POST");
  EXPECT_EQ(plain.target, "/api/chat");
  EXPECT_EQ(json::parse(plain.body),
            json::parse(R"({"model":"m","messages":[{"role":"user","content":"hi"}],
                            "stream":true,"options":{}})"));
  const http::Request full = make_chat_request(
      Api::kOllama, {.model = "m", .prompt = "hi", .seed = 7, .temperature = 0.5, .max_tokens = 9});
  EXPECT_EQ(json::parse(full.body)["options"],
            json::parse(R"({"seed":7,"temperature":0.5,"num_predict":9})"));
}

TEST(ChatWire, OpenaiRequestAsksForUsage) {
  const http::Request request = make_chat_request(
      Api::kOpenai, {.model = "m", .prompt = "hi", .seed = 7, .temperature = 0.5, .max_tokens = 9});
  EXPECT_EQ(request.target, "/v1/chat/completions");
  EXPECT_EQ(json::parse(request.body),
            json::parse(R"({"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,
                            "stream_options":{"include_usage":true},"seed":7,"temperature":0.5,
                            "max_tokens":9})"));
}

TEST(ChatWire, OnlyOpenaiRequestsCanAskForMoreThanTheModelsEnd) {
  const ChatQuery query{.model = "m", .prompt = "hi", .ignore_end = true};
  EXPECT_EQ(json::parse(make_chat_request(Api::kOpenai, query).body)["ignore_eos"], true);
  EXPECT_TRUE(json::parse(make_chat_request(Api::kOllama, query).body)["options"].empty());
}

const std::string kOllamaReply =
    R"({"model":"m","message":{"role":"assistant","content":"Hé"},"done":false}
{"model":"m","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}
{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"length",)"
    R"("load_duration":5,"prompt_eval_count":3,"prompt_eval_duration":2,"eval_count":4,"eval_duration":6}
)";

const std::string kOpenaiReply =
    ": comment\r\n"
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
    "\"finish_reason\":null}]}\r\n\r\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\"Hé\"}}]}\n\n"
    "data:{\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n"
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,"
    "\"prompt_tokens_details\":{\"cached_tokens\":2}}}\n\n"
    "data: [DONE]\n\n";

// The figures must not depend on how the bytes were cut into reads.
template <typename Check>
void for_random_cuts(Api api, const std::string& reply, Check check) {
  const uint32_t seed = 42;
  std::mt19937 random(seed);
  for (int round = 0; round < 50; ++round) {
    WireReader reader(api);
    int num_pieces = 0;
    for (size_t at = 0; at < reply.size();) {
      const size_t size = std::min<size_t>(1 + random() % 60, reply.size() - at);
      num_pieces += reader.feed(std::string_view(reply).substr(at, size));
      at += size;
    }
    SCOPED_TRACE("seed " + std::to_string(seed) + " round " + std::to_string(round));
    check(reader, num_pieces);
  }
}

TEST(ChatWire, ReadsAnOllamaStreamCutAnywhere) {
  for_random_cuts(Api::kOllama, kOllamaReply, [](const WireReader& reader, int num_pieces) {
    EXPECT_EQ(num_pieces, 2);
    EXPECT_TRUE(reader.is_complete());
    EXPECT_EQ(reader.figures().num_prompt_tokens, 3);
    EXPECT_EQ(reader.figures().num_output_tokens, 4);
    EXPECT_EQ(reader.figures().num_cached_tokens, -1);
    EXPECT_EQ(reader.figures().load_duration.count(), 5);
    EXPECT_EQ(reader.figures().prefill_duration.count(), 2);
    EXPECT_EQ(reader.figures().decode_duration.count(), 6);
    EXPECT_EQ(reader.figures().finish_reason, "length");
  });
}

TEST(ChatWire, ReadsAnOpenaiStreamCutAnywhere) {
  for_random_cuts(Api::kOpenai, kOpenaiReply, [](const WireReader& reader, int num_pieces) {
    EXPECT_EQ(num_pieces, 2);
    EXPECT_TRUE(reader.is_complete());
    EXPECT_EQ(reader.figures().num_prompt_tokens, 3);
    EXPECT_EQ(reader.figures().num_output_tokens, 4);
    EXPECT_EQ(reader.figures().num_cached_tokens, 2);
    EXPECT_EQ(reader.figures().finish_reason, "stop");
  });
}

TEST(ChatWire, TakesALastLineWithoutANewline) {
  for (const Api api : {Api::kOllama, Api::kOpenai}) {
    std::string reply = api == Api::kOllama ? kOllamaReply : kOpenaiReply;
    while (reply.ends_with('\n')) reply.pop_back();
    WireReader reader(api);
    EXPECT_EQ(reader.feed(reply), 2);
    EXPECT_FALSE(reader.is_complete());
    EXPECT_EQ(reader.finish(), 0);
    EXPECT_TRUE(reader.is_complete()) << api_name(api);
    EXPECT_EQ(reader.figures().num_output_tokens, 4);
  }
  WireReader cut(Api::kOllama);
  EXPECT_EQ(cut.feed(R"({"message":{"content":"x"},"done":tr)"), 0);
  EXPECT_THROW(cut.finish(), Error);
}

TEST(ChatWire, ToleratesMembersOfTheWrongType) {
  WireReader reader(Api::kOllama);
  EXPECT_EQ(reader.feed("{\"message\":[1],\"done\":\"yes\"}\n{\"message\":{\"content\":null}}\n"),
            0);
  EXPECT_EQ(reader.feed("{\"done\":true,\"eval_count\":-5,\"prompt_eval_count\":1e30,"
                        "\"load_duration\":\"x\"}\n"),
            0);
  EXPECT_TRUE(reader.is_complete());
  EXPECT_EQ(reader.figures().num_output_tokens, -1);
  EXPECT_EQ(reader.figures().num_prompt_tokens, -1);
}

TEST(ChatWire, KeepsAnErrorSentInsideTheStream) {
  WireReader ollama(Api::kOllama);
  ollama.feed("{\"error\":\"out of memory\"}\n");
  EXPECT_EQ(ollama.figures().error, "out of memory");
  EXPECT_FALSE(ollama.is_complete());
  WireReader openai(Api::kOpenai);
  openai.feed("data: {\"error\":{\"message\":\"too long\",\"type\":\"x\"}}\n");
  EXPECT_EQ(openai.figures().error, "too long");
}

TEST(ChatWire, RefusesWhatIsNotJsonAndEndlessLines) {
  EXPECT_THROW(WireReader(Api::kOllama).feed("<html>\n"), Error);
  EXPECT_THROW(WireReader(Api::kOpenai).feed("data: {\n"), Error);
  EXPECT_THROW(WireReader(Api::kOllama).feed(std::string(17 << 20, 'x')), Error);
}

TEST(ChatWire, MakesOneLineOfAnErrorBody) {
  EXPECT_EQ(error_text_of(R"({"error":"busy"})"), "busy");
  EXPECT_EQ(error_text_of(R"({"error":{"message":"no\nroom"}})"), "no room");
  EXPECT_EQ(error_text_of("<html>\x1b[31m\n</html>"), "<html> [31m </html>");
  EXPECT_EQ(error_text_of(std::string(5000, 'x')).size(), 300u);
}

TEST(ChatWire, FindsTheFirstModelOrSaysHowToAddOne) {
  std::string body = R"({"models":[{"name":"a:latest"},{"name":"b"}]})";
  test::ScriptedServer server([&](test::ScriptedConnection& connection) {
    test::ScriptedRequest request;
    while (connection.read_request(request)) connection.reply(200, body);
  });
  http::Client client(http::parse_url(server.url()));
  EXPECT_EQ(first_model(client, Api::kOllama), "a:latest");
  for (const char* empty : {R"({"models":[]})", "{}", R"({"models":[{}]})", "[]", "x"}) {
    body = empty;
    try {
      first_model(client, Api::kOllama);
      FAIL() << empty;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNotFound);
      EXPECT_NE(std::string(error.what()).find("sluice import"), std::string::npos);
    }
  }
  body = R"({"models":7})";
  EXPECT_THROW(first_model(client, Api::kOllama), Error);
}

TEST(ChatWire, CompletionsAreAskedForAndRead) {
  ChatQuery query{.model = "m", .prompt = "next", .max_tokens = 9};
  query.history = {{"hi", "hello"}};
  const http::Request request = make_chat_request(Api::kCompletion, query);
  EXPECT_EQ(request.target, "/v1/completions");
  const json body = json::parse(request.body);
  EXPECT_EQ(body["prompt"], "hi\nhello\nnext");
  EXPECT_EQ(body["max_tokens"], 9);
  EXPECT_FALSE(body.contains("messages"));
  WireReader reader(Api::kCompletion, /*keeps_text=*/true);
  EXPECT_EQ(reader.feed("data: {\"choices\":[{\"text\":\"one\"}]}\n\n"
                        "data: {\"choices\":[{\"text\":\" two\",\"finish_reason\":\"stop\"}],"
                        "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n"
                        "data: [DONE]\n\n"),
            2);
  EXPECT_TRUE(reader.is_complete());
  EXPECT_EQ(reader.text(), "one two");
  EXPECT_EQ(reader.figures().num_output_tokens, 2);
}

TEST(ChatWire, EmbeddingsAreOneObject) {
  const http::Request request =
      make_chat_request(Api::kEmbedding, {.model = "m", .prompt = "text"});
  EXPECT_EQ(request.target, "/v1/embeddings");
  EXPECT_EQ(json::parse(request.body), json({{"model", "m"}, {"input", "text"}}));
  WireReader reader(Api::kEmbedding);
  EXPECT_EQ(reader.feed("{\"data\":\n[{\"embedding\":[0.5"), 0);
  EXPECT_EQ(reader.feed(",1]}],\n\"usage\":{\"prompt_tokens\":7}}\n"), 0);
  EXPECT_FALSE(reader.is_complete());
  EXPECT_EQ(reader.finish(), 0);
  EXPECT_TRUE(reader.is_complete());
  EXPECT_EQ(reader.figures().num_prompt_tokens, 7);
  EXPECT_EQ(reader.figures().num_output_tokens, 0);
  for (const char* wrong : {"{}", "{\"data\":[]}", "no JSON", "{\"data\":3}"}) {
    WireReader other(Api::kEmbedding);
    other.feed(wrong);
    EXPECT_THROW(other.finish(), Error) << wrong;
  }
}

TEST(ChatWire, ReadsHowLongSluiceHadItInTheQueue) {
  WireReader ollama(Api::kOllama);
  ollama.feed("{\"done\":true,\"sluice\":{\"queued_duration\":5000}}\n");
  EXPECT_EQ(ollama.figures().queue_duration.count(), 5000);
  WireReader openai(Api::kOpenai);
  openai.feed("data: {\"choices\":[],\"sluice\":{\"queued_duration\":7}}\n");
  EXPECT_EQ(openai.figures().queue_duration.count(), 7);
  WireReader other(Api::kOpenai);
  EXPECT_EQ(other.figures().queue_duration.count(), -1);
}

TEST(ChatWire, NamesOfWhatIsAskedFor) {
  EXPECT_EQ(api_names(),
            (std::vector<std::string>{"ollama", "openai", "completions", "embeddings"}));
  for (const std::string& name : api_names()) EXPECT_EQ(api_name(api_of(name)), name);
}

}  // namespace
}  // namespace sluice::measure
