#include <gtest/gtest.h>

#include <limits>

#include "api/error.h"
#include "api/ollama.h"
#include "api/openai.h"

// The samples are those of Ollama's wire format, field for field; `sluice` is our addition.
namespace sluice::api::ollama {
namespace {

using namespace std::chrono_literals;

// 2026-08-21T10:00:00.123456789Z
TimePoint sample_time() {
  return TimePoint(std::chrono::duration_cast<TimePoint::duration>(
      std::chrono::nanoseconds(1'787'306'400'123'456'789)));
}

std::unique_ptr<Dialect> chat(const std::string& model = "m") {
  auto dialect = make_chat({"", sample_time});
  Work work;
  dialect->parse(dump_json({{"model", model}}), work);
  return dialect;
}

std::unique_ptr<Dialect> generate() {
  auto dialect = make_generate({"", sample_time});
  Work work;
  dialect->parse(R"({"model":"m"})", work);
  return dialect;
}

ReplyEnd sample_end() {
  ReplyEnd end;
  end.num_prompt_tokens = 3;
  end.num_output_tokens = 4;
  end.total = 9ns;
  end.load = 1ns;
  end.timings.prefill = 2ns;
  end.timings.decode = 5ns;
  return end;
}

const std::string kMetrics =
    R"("total_duration":9,"load_duration":1,"prompt_eval_count":3,"prompt_eval_duration":2,)"
    R"("eval_count":4,"eval_duration":5,)"
    R"("sluice":{"finish_reason":"end_of_sequence","cached_tokens":0,"dropped_tokens":0,)"
    R"("shifted_tokens":0,"draft_tokens":0,"accepted_tokens":0,"queue_position":0,)"
    R"("queued_duration":0}})";

TEST(OllamaEncode, LinesThatTellOfTheWaitAreEmptyPiecesToOthers) {
  Waiting waiting;
  waiting.is_loading = true;
  waiting.load_progress = 0.4249;
  const Json loading = parse_json(chat()->waiting(waiting));
  EXPECT_EQ(loading["message"]["content"], "");
  EXPECT_EQ(loading["done"], false);
  EXPECT_EQ(loading["status"], "loading");
  EXPECT_EQ(loading["progress"], 0.42);
  waiting = {};
  waiting.place = {3, 1249ms};
  const Json queued = parse_json(generate()->waiting(waiting));
  EXPECT_EQ(queued["response"], "");
  EXPECT_EQ(queued["done"], false);
  EXPECT_EQ(queued["status"], "queued");
  EXPECT_EQ(queued["queue_position"], 3);
  EXPECT_EQ(queued["estimated_wait"], 1.2);
}

TEST(OllamaEncode, GenerateChunkAndFinal) {
  ReplyPiece piece;
  piece.content = "Hi";
  EXPECT_EQ(
      generate()->piece(piece),
      R"({"model":"m","created_at":"2026-08-21T10:00:00.123456789Z","response":"Hi","done":false})"
      "\n");
  ReplyEnd end = sample_end();
  end.context = {1, 2};
  EXPECT_EQ(generate()->end(end),
            R"({"model":"m","created_at":"2026-08-21T10:00:00.123456789Z","response":"",)"
            R"("done":true,"done_reason":"stop","context":[1,2],)" +
                kMetrics + "\n");
}

TEST(OllamaEncode, ChatChunkAndFinal) {
  ReplyPiece piece;
  piece.content = "Hi";
  EXPECT_EQ(chat()->piece(piece), R"({"model":"m","created_at":"2026-08-21T10:00:00.123456789Z",)"
                                  R"("message":{"role":"assistant","content":"Hi"},"done":false})"
                                  "\n");
  EXPECT_EQ(chat()->end(sample_end()),
            R"({"model":"m","created_at":"2026-08-21T10:00:00.123456789Z",)"
            R"("message":{"role":"assistant","content":""},"done":true,"done_reason":"stop",)" +
                kMetrics + "\n");
}

TEST(OllamaEncode, AWholeReplyIsOneObject) {
  Choice choice;
  choice.piece.content = "Hi";
  choice.end = sample_end();
  EXPECT_EQ(generate()->whole({&choice, 1}),
            R"({"model":"m","created_at":"2026-08-21T10:00:00.123456789Z","response":"Hi",)"
            R"("done":true,"done_reason":"stop",)" +
                kMetrics);
}

TEST(OllamaEncode, AReplyOfOneTokenTookTimeToo) {
  ReplyEnd end;
  end.num_output_tokens = 1;
  EXPECT_EQ(parse_json(chat()->end(end))["eval_duration"], 1);
}

TEST(OllamaEncode, ToolCallsAndThinking) {
  ReplyPiece piece;
  piece.thinking = "hm";
  ToolCall call;
  call.id = "call_a1b2c3d4";
  call.name = "get_weather";
  call.arguments = parse_json(R"({"city":"Paris"})");
  piece.tool_calls = {call};
  const Json json = parse_json(chat()->piece(piece));
  EXPECT_EQ(
      dump_json(json["message"]),
      R"({"role":"assistant","content":"","thinking":"hm","tool_calls":[{"id":"call_a1b2c3d4",)"
      R"("function":{"index":0,"name":"get_weather","arguments":{"city":"Paris"}}}]})");
}

TEST(OllamaEncode, Logprobs) {
  ReplyPiece piece;
  piece.content = " sky";
  piece.logprobs = {{" sky", -0.01, {{" sky", -0.01, {}}, {"\xFF", -2.5, {}}}},
                    {"x", -std::numeric_limits<double>::infinity(), {}}};
  const Json json = parse_json(chat()->piece(piece));
  EXPECT_EQ(dump_json(json["logprobs"]),
            R"([{"token":" sky","logprob":-0.01,"bytes":[32,115,107,121],"top_logprobs":[)"
            R"({"token":" sky","logprob":-0.01,"bytes":[32,115,107,121]},)"
            "{\"token\":\"\xEF\xBF\xBD\",\"logprob\":-2.5,\"bytes\":[255]}]},"
            R"({"token":"x","logprob":-9999.0,"bytes":[120]}])");
}

TEST(OllamaEncode, MetricsOfZeroAreLeftOutButLoadAndPrefill) {
  const Json json = parse_json(chat()->end({}));
  EXPECT_FALSE(json.contains("total_duration"));
  EXPECT_FALSE(json.contains("prompt_eval_count"));
  EXPECT_FALSE(json.contains("eval_count"));
  EXPECT_FALSE(json.contains("eval_duration"));
  EXPECT_EQ(json["load_duration"], 1);
  EXPECT_EQ(json["prompt_eval_duration"], 1);
}

TEST(OllamaEncode, SaysExactlyWhyItEnded) {
  using engine::FinishReason;
  const std::pair<FinishReason, std::string_view> reasons[] = {
      {FinishReason::kEndOfSequence, "stop"},  {FinishReason::kStopString, "stop"},
      {FinishReason::kMaxTokens, "length"},    {FinishReason::kContextFull, "length"},
      {FinishReason::kCancelled, "cancelled"}, {FinishReason::kDeadline, "deadline"},
      {FinishReason::kError, "error"},
  };
  for (const auto& [reason, text] : reasons) {
    ReplyEnd end;
    end.reason = reason;
    const Json json = parse_json(generate()->end(end));
    EXPECT_EQ(json["done_reason"].get<std::string>(), text);
    EXPECT_EQ(json["sluice"]["finish_reason"], engine::finish_reason_name(reason));
  }
  ReplyEnd end;
  end.reason = FinishReason::kStopString;
  end.stop_string = "\n\n";
  end.num_cached_tokens = 5;
  end.num_dropped_tokens = 6;
  end.num_shifted_tokens = 9;
  end.num_draft_tokens = 12;
  end.num_accepted_tokens = 11;
  end.queue_position = 3;
  end.timings.queued = 7ns;
  end.load = 1ns;
  const Json json = parse_json(generate()->end(end));
  EXPECT_EQ(dump_json(json["sluice"]),
            R"({"finish_reason":"stop_string","stop":"\n\n","cached_tokens":5,"dropped_tokens":6,)"
            R"("shifted_tokens":9,"draft_tokens":12,"accepted_tokens":11,"queue_position":3,)"
            R"("queued_duration":7})");
  EXPECT_EQ(json["load_duration"], 8);
}

TEST(OllamaEncode, LoadAndUnload) {
  EXPECT_EQ(generate()->loaded("load", 5ns),
            R"({"model":"m","created_at":"2026-08-21T10:00:00.123456789Z","response":"",)"
            R"("done":true,"done_reason":"load","load_duration":5})");
  EXPECT_EQ(chat()->loaded("unload", 0ns),
            R"({"model":"m","created_at":"2026-08-21T10:00:00.123456789Z",)"
            R"("message":{"role":"assistant","content":""},"done":true,"done_reason":"unload"})");
}

TEST(OllamaEncode, RenderedPrompt) {
  EXPECT_EQ(generate()->rendered("<s>x"),
            R"({"model":"m","created_at":"2026-08-21T10:00:00.123456789Z","response":"",)"
            R"("done":false,"_debug_info":{"rendered_template":"<s>x"}})");
}

TEST(OllamaEncode, OneObjectIsOneLine) {
  ReplyPiece piece;
  piece.content = "a\nb\r\xE2\x80\xA8\"\\\x01";
  const std::string line = chat("m\n")->piece(piece);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
}

ModelDetails sample_details() {
  ModelDetails details;
  details.family = "llama";
  details.families = {"llama"};
  details.parameter_size = "134.52M";
  details.quantization_level = "F16";
  return details;
}

const std::string kDetails =
    R"({"parent_model":"","format":"gguf","family":"llama","families":["llama"],)"
    R"("parameter_size":"134.52M","quantization_level":"F16"})";

TEST(OllamaEncode, Tags) {
  EXPECT_EQ(encode_tags({}), R"({"models":[]})");
  TagsEntry entry;
  entry.name = "m:latest";
  entry.modified_at = sample_time();
  entry.size_bytes = 9;
  entry.digest_hex = "ab";
  entry.details = sample_details();
  entry.capabilities = {"completion"};
  EXPECT_EQ(encode_tags({entry}),
            R"({"models":[{"name":"m:latest","model":"m:latest",)"
            R"("modified_at":"2026-08-21T10:00:00.123456789Z","size":9,"digest":"ab","details":)" +
                kDetails + R"(,"capabilities":["completion"]}]})");
}

TEST(OllamaEncode, PsShowsTheLatestExpiryFirst) {
  EXPECT_EQ(encode_ps({}), R"({"models":[]})");
  PsEntry entry;
  entry.name = "m:latest";
  entry.size_bytes = 9;
  entry.digest_hex = "ab";
  entry.details = sample_details();
  entry.expires_at = sample_time();
  entry.context_length = 4096;
  PsEntry other = entry;
  other.name = "forever:latest";
  other.expires_at = never_expires();
  const Json both = parse_json(encode_ps({entry, other}));
  EXPECT_EQ(both["models"][0]["name"], "forever:latest");
  EXPECT_EQ(both["models"][0]["expires_at"].get<std::string>().substr(0, 4), "2262");
  EXPECT_EQ(
      encode_ps({entry}),
      R"({"models":[{"name":"m:latest","model":"m:latest","size":9,"digest":"ab","details":)" +
          kDetails +
          R"(,"expires_at":"2026-08-21T10:00:00.123456789Z","size_vram":0,)"
          R"("context_length":4096}]})");
}

TEST(OllamaEncode, Show) {
  ShowReply reply;
  reply.license = "L";
  reply.modelfile = "F";
  reply.parameters = "P";
  reply.chat_template = "T";
  reply.details = sample_details();
  reply.model_info = parse_json(R"({"general.architecture":"llama"})");
  reply.tensors = parse_json(R"([{"name":"t","type":"F16","shape":[576,49152]}])");
  reply.capabilities = {"completion"};
  reply.modified_at = sample_time();
  EXPECT_EQ(encode_show(reply),
            R"({"license":"L","modelfile":"F","parameters":"P","template":"T","details":)" +
                kDetails +
                R"(,"model_info":{"general.architecture":"llama"},)"
                R"("tensors":[{"name":"t","type":"F16","shape":[576,49152]}],)"
                R"("capabilities":["completion"],"modified_at":"2026-08-21T10:00:00.123456789Z"})");
  EXPECT_EQ(parse_json(encode_show({}))["model_info"], Json::object());
}

TEST(OllamaEncode, VersionAndErrors) {
  EXPECT_EQ(encode_version("0.17.6"), R"({"version":"0.17.6"})");
  EXPECT_EQ(error_body(404, "model 'x' not found"), R"({"error":"model 'x' not found"})");
  EXPECT_EQ(openai::error_body(404, "gone"),
            R"({"error":{"message":"gone","type":"not_found_error","param":null,"code":null}})");
  EXPECT_EQ(http_status(ErrorCode::kInvalidArgument), 400);
  EXPECT_EQ(http_status(ErrorCode::kNotFound), 404);
  EXPECT_EQ(http_status(ErrorCode::kCancelled), 499);
  EXPECT_EQ(http_status(ErrorCode::kBusy), 503);
  EXPECT_EQ(http_status(ErrorCode::kInternal), 500);
}

}  // namespace
}  // namespace sluice::api::ollama
