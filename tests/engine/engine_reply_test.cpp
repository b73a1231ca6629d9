// What one request gets back from the engine.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include "engine_fixture.h"

namespace sluice::engine {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(EngineReply, StreamsTextAndThenOneFinalEvent) {
  TestEngine engine(scripted_text("hello"), tokenizer(), options());
  Collector collector;
  engine.submit(greedy_request(collector, {65}));
  const Event last = collector.wait();
  EXPECT_EQ(last.reason, FinishReason::kEndOfSequence);
  EXPECT_EQ(collector.text(), "hello");
  EXPECT_THAT(collector.pieces(), ElementsAre("h", "e", "l", "l", "o"));
  EXPECT_EQ(last.text, "");
  EXPECT_EQ(last.num_prompt_tokens, 1);
  EXPECT_EQ(last.num_output_tokens, 6) << "the end token counts";
  EXPECT_EQ(collector.tokens().size(), 5u) << "but is not handed out";
  EXPECT_EQ(collector.num_final(), 1);
}

TEST(EngineReply, StopStringEndsTheReplyAcrossTokensAndIsNotEmitted) {
  TestEngine engine(scripted_text("abcSTOPdef"), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector);
  request.stop_strings = {"nothing", "STOP"};
  engine.submit(request);
  const Event last = collector.wait();
  EXPECT_EQ(last.reason, FinishReason::kStopString);
  EXPECT_EQ(last.stop_string, "STOP");
  EXPECT_EQ(collector.text(), "abc");
  EXPECT_EQ(last.num_output_tokens, 7);
}

TEST(EngineReply, TextHeldBackForAStopStringIsNotLost) {
  TestEngine engine(scripted_text("abST"), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector);
  request.stop_strings = {"STOP"};
  engine.submit(request);
  EXPECT_EQ(collector.wait().reason, FinishReason::kEndOfSequence);
  EXPECT_EQ(collector.text(), "abST");
  EXPECT_EQ(collector.tokens().size(), 4u);
}

TEST(EngineReply, ControlTokensStandInFramesForWhoAsks) {
  for (const bool frames : {false, true}) {
    TestEngine engine(scripted_text("ab"), tokenizer(), options());
    Collector collector;
    Request request = greedy_request(collector);
    request.stop_strings = {"bx", "<|end|>"};  // the first is held back, the second never met
    request.ignore_end_of_sequence = true;
    request.max_tokens = 3;
    request.frame_controls = frames;
    engine.submit(request);
    EXPECT_EQ(collector.wait().reason, FinishReason::kMaxTokens);
    EXPECT_EQ(collector.text(), frames ? "ab\xFF<|end|>\xFF" : "ab");
    EXPECT_EQ(collector.tokens().size(), 3u);
  }
}

TEST(EngineReply, CharactersComeWhole) {
  TestEngine engine(scripted_text("\xC3\xA9\xE2\x82\xAC!"), tokenizer(), options());
  Collector collector;
  engine.submit(greedy_request(collector));
  collector.wait();
  EXPECT_THAT(collector.pieces(), ElementsAre("\xC3\xA9", "\xE2\x82\xAC", "!"));
}

TEST(EngineReply, UnfinishedCharacterComesOutBeforeHeldBackTextEnds) {
  TestEngine engine(scripted_text("xS\xE2\x82"), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector);
  request.stop_strings = {"S\xEF\xBF\xBDT"};
  engine.submit(request);
  collector.wait();
  EXPECT_EQ(collector.text(), "xS\xEF\xBF\xBD");
}

TEST(EngineReply, MaxTokensEndsTheReply) {
  TestEngine engine(scripted_text("abcdef"), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector);
  request.max_tokens = 3;
  engine.submit(request);
  const Event last = collector.wait();
  EXPECT_EQ(last.reason, FinishReason::kMaxTokens);
  EXPECT_EQ(last.num_output_tokens, 3);
  EXPECT_EQ(collector.text(), "abc");
}

TEST(EngineReply, MaxTokensOfZeroOnlyPrefills) {
  TestEngine engine(scripted_text("abc"), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector, std::vector<text::TokenId>(100, 7));
  request.max_tokens = 0;
  engine.submit(request);
  const Event last = collector.wait();
  EXPECT_EQ(last.reason, FinishReason::kMaxTokens);
  EXPECT_EQ(last.num_output_tokens, 0);
  EXPECT_EQ(last.num_prompt_tokens, 100);
  EXPECT_EQ(collector.text(), "");
  wait_for([&] { return engine.stats().num_prompt_tokens == 100; });
}

TEST(EngineReply, ContextLimitEndsTheReply) {
  TestEngine engine(scripted({66}), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector, {1, 2, 3, 4, 5});
  request.context_limit = 12;
  engine.submit(request);
  const Event last = collector.wait();
  EXPECT_EQ(last.reason, FinishReason::kContextFull);
  EXPECT_EQ(last.num_output_tokens, 7);
}

TEST(EngineReply, TheCacheItselfIsALimitToo) {
  EngineOptions small = options(3);
  TestEngine engine(scripted({66}), tokenizer(), small);
  Collector collector;
  engine.submit(greedy_request(collector));
  const Event last = collector.wait();
  EXPECT_EQ(last.reason, FinishReason::kContextFull);
  EXPECT_EQ(last.num_output_tokens, 3 * backend::kBlockTokens - 1);
}

TEST(EngineReply, PromptThatLeavesNoRoomIsRefused) {
  TestEngine engine(scripted({66}), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector, std::vector<text::TokenId>(10, 1));
  request.context_limit = 10;
  EXPECT_EQ(code_of([&] { engine.submit(request); }), ErrorCode::kContextOverflow);
  request.context_limit = 11;
  engine.submit(request);
  EXPECT_EQ(collector.wait().num_output_tokens, 1);
}

TEST(EngineReply, EndOfSequenceCanBeIgnored) {
  TestEngine engine(scripted({97, kEndToken, 98, kEndToken, 99}), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector);
  request.ignore_end_of_sequence = true;
  request.max_tokens = 5;
  engine.submit(request);
  EXPECT_EQ(collector.wait().reason, FinishReason::kMaxTokens);
  EXPECT_EQ(collector.text(), "abc");
  EXPECT_EQ(collector.tokens().size(), 5u);
}

TEST(EngineReply, GivesLogprobsWhenAskedFor) {
  TestEngine engine(scripted_text("ab"), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector);
  request.num_top_logprobs = 2;
  engine.submit(request);
  collector.wait();
  const auto tokens = collector.tokens();
  ASSERT_EQ(tokens.size(), 2u);
  const double expected = 5.0 - std::log(std::exp(5.0) + kVocabSize - 1);
  EXPECT_EQ(tokens[0].token, 'a');
  EXPECT_NEAR(tokens[0].logprob, expected, 1e-5);
  ASSERT_EQ(tokens[0].top.size(), 2u);
  EXPECT_EQ(tokens[0].top[0].token, 'a');
  EXPECT_EQ(tokens[0].top[1].token, 0);
}

TEST(EngineReply, RefusesRequestsOutOfRangeByName) {
  TestEngine engine(scripted({66}), tokenizer(), options());
  const auto refusal = [&](auto change) -> std::string {
    Collector collector;
    Request request = greedy_request(collector);
    change(request);
    try {
      engine.submit(request);
      return "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      return error.what();
    }
  };
  using R = Request;
  EXPECT_THAT(refusal([](R& r) { r.prompt.clear(); }), HasSubstr("prompt"));
  EXPECT_THAT(refusal([](R& r) { r.prompt = {kVocabSize}; }), HasSubstr("prompt"));
  EXPECT_THAT(refusal([](R& r) { r.prompt = {-1}; }), HasSubstr("prompt"));
  EXPECT_THAT(refusal([](R& r) { r.max_tokens = -2; }), HasSubstr("max_tokens"));
  EXPECT_THAT(refusal([](R& r) { r.context_limit = -1; }), HasSubstr("context_limit"));
  EXPECT_THAT(refusal([](R& r) { r.num_top_logprobs = 21; }), HasSubstr("num_top_logprobs"));
  EXPECT_THAT(refusal([](R& r) { r.stop_strings = {"a", ""}; }), HasSubstr("stop_strings"));
  EXPECT_THAT(refusal([](R& r) { r.stop_strings.assign(65, "a"); }), HasSubstr("stop_strings"));
  EXPECT_THAT(refusal([](R& r) { r.sampling.top_p = -1; }), HasSubstr("top_p"));
  EXPECT_THAT(refusal([](R& r) { r.biases = {{kVocabSize, 1}}; }), HasSubstr("logit_bias"));
  EXPECT_THAT(refusal([](R& r) { r.biases = {{-1, 1}}; }), HasSubstr("logit_bias"));
  EXPECT_THAT(refusal([](R& r) { r.biases = {{1, NAN}}; }), HasSubstr("logit_bias"));
  EXPECT_THAT(refusal([](R& r) { r.biases = {{1, 1}, {2, 1}, {1, 1}}; }), HasSubstr("once"));
  EXPECT_THAT(refusal([](R& r) { r.biases.resize(1025); }), HasSubstr("1024"));
}

TEST(EngineReply, BiasesMoveWhatIsDrawn) {
  TestEngine engine(scripted_text("hello"), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector);
  request.biases = {{'l', -100}, {'L', 1}, {kEndToken, 0.5f}};
  request.max_tokens = 10;
  engine.submit(request);
  collector.wait();
  EXPECT_EQ(collector.text(), "heLLo");
}

TEST(EngineReply, TellsHowMuchCameFromThePrefixCache) {
  TestEngine engine(scripted({66}), tokenizer(), options());
  std::vector<text::TokenId> prompt(100, 7);
  for (const int expected : {0, 96}) {
    Collector collector;
    Request request = greedy_request(collector, prompt);
    request.max_tokens = 1;
    engine.submit(request);
    EXPECT_EQ(collector.wait().num_cached_tokens, expected);
  }
  wait_for([&] { return engine.stats().num_requests_finished == 2; });
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.num_cached_tokens, 96u);
  EXPECT_EQ(stats.num_prompt_tokens, 104u);
  EXPECT_EQ(stats.num_output_tokens, 2u);
  EXPECT_EQ(stats.num_blocks_used, 0);
  EXPECT_EQ(stats.num_blocks_cached, 6);
  EXPECT_THAT(stats.requests, IsEmpty());
}

TEST(EngineReply, TimingsAddUp) {
  TestEngine engine(slowed(scripted({66})), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector, std::vector<text::TokenId>(200, 7));
  request.max_tokens = 6;
  const auto begin = Clock::now();
  engine.submit(request);
  const Timings timings = collector.wait().timings;
  const auto wall = Clock::now() - begin;
  EXPECT_GE(timings.prefill, milliseconds(4));
  EXPECT_GE(timings.decode, milliseconds(5));
  EXPECT_GE(timings.queued.count(), 0);
  EXPECT_LE(timings.queued + timings.prefill + timings.decode, wall);
}

// The model wants B always: a penalty on the prompt's B, or on the sampled one, makes it something
// else.
TEST(EngineReply, PenaltiesMayCountOnlyWhatWasSampled) {
  const auto reply = [](bool penalize_prompt) {
    TestEngine engine(scripted({66}, 3), tokenizer(), options());
    Collector collector;
    Request request = greedy_request(collector, {65, 66, 66});
    request.sampling.presence_penalty = 100;
    request.sampling.repeat_last_n = -1;
    request.sampling.penalize_prompt = penalize_prompt;
    request.max_tokens = 2;
    engine.submit(request);
    collector.wait();
    return collector.tokens();
  };
  EXPECT_NE(reply(true).at(0).token, 66);
  EXPECT_EQ(reply(false).at(0).token, 66);
  EXPECT_NE(reply(false).at(1).token, 66);
}

}  // namespace
}  // namespace sluice::engine
