// Prompt look-up decoding must never show in a reply.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <iostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/speculation.h"
#include "engine_fixture.h"
#include "fake_model.h"

namespace sluice::engine {
namespace {

constexpr int kCopyDistance = 23;

EngineOptions drafting(int num_blocks = 64, bool speculate = true) {
  EngineOptions result = options(num_blocks);
  result.speculate = speculate;
  result.min_draft_gain = 0;  // whatever the clock says
  return result;
}

std::vector<text::TokenId> random_prompt(std::mt19937_64& random, size_t size) {
  std::vector<text::TokenId> prompt;
  for (size_t i = 0; i < size; ++i) prompt.push_back(static_cast<int>(random() % 200));
  return prompt;
}

struct Result {
  Event last;
  std::string text;
  std::vector<OutputToken> tokens;
};

// One request on an engine of its own.
Result reply_to(Request request, const EngineOptions& engine_options) {
  FakeModel model(engine_options.num_blocks, kVocabSize, kCopyDistance);
  TestEngine engine([&](const backend::Batch& batch) { return model.forward(batch); }, tokenizer(),
                    engine_options);
  Collector collector;
  request.on_event = collector.callback();
  engine.submit(std::move(request));
  Result reply;
  reply.last = collector.wait();
  reply.text = collector.text();
  reply.tokens = collector.tokens();
  return reply;
}

void expect_equal(const Result& a, const Result& b) {
  EXPECT_EQ(a.text, b.text);
  EXPECT_EQ(a.last.reason, b.last.reason);
  EXPECT_EQ(a.last.stop_string, b.last.stop_string);
  EXPECT_EQ(a.last.num_output_tokens, b.last.num_output_tokens);
  EXPECT_EQ(a.last.num_shifted_tokens, b.last.num_shifted_tokens);
  ASSERT_EQ(a.tokens.size(), b.tokens.size());
  for (size_t i = 0; i < a.tokens.size(); ++i) {
    ASSERT_EQ(a.tokens[i].token, b.tokens[i].token) << "token " << i;
    ASSERT_EQ(a.tokens[i].logprob, b.tokens[i].logprob) << "token " << i;
    ASSERT_EQ(a.tokens[i].top.size(), b.tokens[i].top.size()) << "token " << i;
  }
}

Request long_request(uint64_t seed) {
  std::mt19937_64 random(seed);
  Request request;
  request.prompt = random_prompt(random, 60);
  request.sampling.temperature = 0;
  request.max_tokens = 300;
  request.ignore_end_of_sequence = true;
  return request;
}

TEST(Speculation, GreedyRepliesAreTheSame) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const Request request = long_request(seed);
    const Result plain = reply_to(request, drafting(64, false));
    const Result drafted = reply_to(request, drafting());
    expect_equal(plain, drafted);
    EXPECT_EQ(plain.last.num_draft_tokens, 0);
    EXPECT_GT(drafted.last.num_accepted_tokens, 100);
    EXPECT_GT(drafted.last.num_draft_tokens, drafted.last.num_accepted_tokens);
  }
}

TEST(Speculation, SampledRepliesAreTheSameForTheSameSeed) {
  int num_accepted = 0, num_rejected = 0;
  for (uint64_t seed = 10; seed < 20; ++seed) {
    Request request = long_request(seed);
    request.sampling = {};
    request.sampling.seed = seed;
    request.sampling.repeat_penalty = 1.1f;
    request.sampling.presence_penalty = 0.2f;
    request.num_top_logprobs = 2;
    const Result drafted = reply_to(request, drafting());
    expect_equal(reply_to(request, drafting(64, false)), drafted);
    num_accepted += drafted.last.num_accepted_tokens;
    num_rejected += drafted.last.num_draft_tokens - drafted.last.num_accepted_tokens;
  }
  EXPECT_GT(num_accepted, 500);
  EXPECT_GT(num_rejected, 500);
}

TEST(Speculation, RepliesEndWhereTheyWouldHave) {
  Request request = long_request(3);
  const Result whole = reply_to(request, drafting(64, false));
  // At every place in turn, so that every place within a draft is met.
  for (int end = 100; end < 120; ++end) {
    request.max_tokens = end;
    const Result drafted = reply_to(request, drafting());
    EXPECT_EQ(drafted.last.num_output_tokens, end);
    expect_equal(reply_to(request, drafting(64, false)), drafted);
  }
  request.max_tokens = -1;
  for (int end = 160; end < 180; ++end) {
    request.context_limit = end;
    const Result drafted = reply_to(request, drafting());
    EXPECT_EQ(drafted.last.reason, FinishReason::kContextFull);
    expect_equal(reply_to(request, drafting(64, false)), drafted);
  }
  request.context_limit = 0;
  request.max_tokens = 300;
  for (size_t begin = 100; begin < 110; ++begin) {
    request.stop_strings = {whole.text.substr(begin, 3)};
    const Result drafted = reply_to(request, drafting());
    EXPECT_EQ(drafted.last.reason, FinishReason::kStopString);
    expect_equal(reply_to(request, drafting(64, false)), drafted);
  }
}

TEST(Speculation, AnEndTokenWithinADraftEndsTheReply) {
  // The prompt shows what comes: five tokens and the end.
  const auto prompt = bytes_as_tokens("abcdefghij");
  std::vector<text::TokenId> text = prompt;
  text.push_back(kEndToken);
  text.insert(text.end(), {'x', 'a'});
  auto script = bytes_as_tokens("bcdefghij");
  script.push_back(kEndToken);
  EngineOptions forced = drafting();
  TestEngine engine(
      [=, logits = std::vector<float>()](const backend::Batch& batch) mutable {
        logits.assign(batch.logit_rows.size() * kVocabSize, 0.0f);
        for (size_t row = 0; row < batch.logit_rows.size(); ++row) {
          const auto& sequence = batch.sequences.front();
          const int place = sequence.num_cached + batch.logit_rows[row] - sequence.first_token;
          const auto index = static_cast<size_t>(place + 1) - text.size();
          logits[row * kVocabSize +
                 static_cast<size_t>(script.at(std::min(index, script.size() - 1)))] = 5.0f;
        }
        return ForwardOutput{logits, {}};
      },
      tokenizer(), forced);
  Collector collector;
  engine.submit(greedy_request(collector, text));
  const Event last = collector.wait();
  EXPECT_EQ(last.reason, FinishReason::kEndOfSequence);
  EXPECT_EQ(collector.text(), "bcdefghij");
  EXPECT_GE(last.num_accepted_tokens, 7);
  EXPECT_EQ(last.num_output_tokens, 10);
}

TEST(Speculation, TheRequestDecidesOverTheEngine) {
  Request request = long_request(1);
  request.speculate = false;
  EXPECT_EQ(reply_to(request, drafting()).last.num_draft_tokens, 0);
  request.speculate = true;
  EXPECT_GT(reply_to(request, drafting(64, false)).last.num_draft_tokens, 0);
}

TEST(Speculation, StepsStaySmallAndKeepPromptsOut) {
  EngineOptions forced = drafting();
  forced.max_sequences = 12;
  FakeModel model(forced.num_blocks, kVocabSize, kCopyDistance);
  std::atomic<int> num_bad = 0, num_drafted = 0;
  TestEngine engine(
      [&](const backend::Batch& batch) {
        bool has_draft = false, has_prompt = false;
        for (const backend::BatchSequence& sequence : batch.sequences) {
          int num_rows = 0;
          for (const int32_t row : batch.logit_rows) {
            num_rows +=
                row >= sequence.first_token && row < sequence.first_token + sequence.num_tokens;
          }
          has_draft = has_draft || num_rows > 1;
          has_prompt = has_prompt || sequence.num_tokens > num_rows;
        }
        if (has_draft) ++num_drafted;
        if (has_draft && (has_prompt || batch.tokens.size() > 8)) ++num_bad;
        return model.forward(batch);
      },
      tokenizer(), forced);
  std::vector<Collector> collectors(12);
  for (size_t i = 0; i < collectors.size(); ++i) {
    Request request = long_request(i);
    request.max_tokens = static_cast<int>(20 + 20 * i);
    request.on_event = collectors[i].callback();
    engine.submit(request);
  }
  for (Collector& collector : collectors) collector.wait();
  EXPECT_EQ(num_bad, 0);
  EXPECT_GT(num_drafted, 5);
}

TEST(Speculation, IsReportedInTheStatistics) {
  EngineOptions forced = drafting();
  FakeModel model(forced.num_blocks, kVocabSize, kCopyDistance);
  TestEngine engine([&](const backend::Batch& batch) { return model.forward(batch); }, tokenizer(),
                    forced);
  uint64_t num_draft = 0, num_accepted = 0;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    Collector collector;
    Request request = long_request(seed);
    request.on_event = collector.callback();
    engine.submit(request);
    const Event last = collector.wait();
    num_draft += static_cast<uint64_t>(last.num_draft_tokens);
    num_accepted += static_cast<uint64_t>(last.num_accepted_tokens);
  }
  wait_for([&] { return engine.stats().num_requests_finished == 3; });
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.num_draft_tokens, num_draft);
  EXPECT_EQ(stats.num_accepted_tokens, num_accepted);
  EXPECT_EQ(stats.num_output_tokens, 900u);
  EXPECT_EQ(stats.num_steps, 900u - num_accepted) << "an accepted token saves a step";
}

TEST(Speculation, RepliesAreTheSameInACrowdWithPreemptionsAndCancels) {
  constexpr int kRequests = 30;
  constexpr uint64_t kSeed = 17;
  std::cout << "seed " << kSeed << "\n";
  std::mt19937_64 random(kSeed);
  std::vector<Request> requests(kRequests);
  std::vector<Result> alone;
  for (Request& request : requests) {
    request.prompt.assign(random() % 3 * 20, static_cast<text::TokenId>(random() % 2));
    for (size_t i = 1 + random() % 40; i > 0; --i) {
      request.prompt.push_back(static_cast<int>(random() % 250));
    }
    request.max_tokens = static_cast<int>(20 + random() % 140);
    request.ignore_end_of_sequence = true;
    request.sampling.temperature = random() % 2 ? 0.0f : 0.8f;
    request.sampling.seed = random();
    alone.push_back(reply_to(request, drafting(200, false)));
  }
  EngineOptions tight = drafting(16);
  tight.max_sequences = 5;
  FakeModel model(tight.num_blocks, kVocabSize, kCopyDistance);
  Gate gate;
  TestEngine engine(gate.guard([&](const backend::Batch& batch) { return model.forward(batch); }),
                    tokenizer(), tight);
  std::vector<Collector> collectors(kRequests);
  for (size_t i = 0; i < kRequests; ++i) {
    Request copy = requests[i];
    copy.on_event = collectors[i].callback();
    const RequestId id = engine.submit(copy).id;
    if (i % 5 == 4) {
      // Cancels itself in the midst of its reply.
      Request victim = requests[i];
      victim.on_event = [&engine, id = id + 1](const Event& event) {
        if (!event.is_final) engine.cancel(id);
      };
      engine.submit(victim);
    }
  }
  gate.open();
  int num_accepted = 0;
  for (size_t i = 0; i < kRequests; ++i) {
    SCOPED_TRACE("request " + std::to_string(i));
    Result crowded;
    crowded.last = collectors[i].wait();
    crowded.text = collectors[i].text();
    crowded.tokens = collectors[i].tokens();
    expect_equal(alone[i], crowded);
    num_accepted += crowded.last.num_accepted_tokens;
  }
  wait_for([&] { return engine.stats().num_running == 0; });
  const EngineStats stats = engine.stats();
  EXPECT_GT(stats.num_preemptions, 0u) << "the cache is not small enough for this test";
  EXPECT_GT(num_accepted, 100);
  EXPECT_EQ(stats.num_blocks_used, 0);
}

// Two tokens of two bits, drawn from a known distribution whatever was guessed.
TEST(Speculation, SampledTokensKeepTheirDistribution) {
  constexpr int kKinds = 4, kReplies = 3000;
  constexpr std::array<double, kKinds> kShares = {0.5, 0.25, 0.15, 0.1};
  EngineOptions forced = drafting();
  forced.max_sequences = 1;
  TestEngine engine(
      [&, logits = std::vector<float>()](const backend::Batch& batch) mutable {
        logits.assign(batch.logit_rows.size() * kVocabSize, -100.0f);
        for (size_t row = 0; row < batch.logit_rows.size(); ++row) {
          for (size_t kind = 0; kind < kKinds; ++kind) {
            logits[row * kVocabSize + 97 + kind] = static_cast<float>(std::log(kShares[kind]));
          }
        }
        return ForwardOutput{logits, {}};
      },
      tokenizer(), forced);
  // The prompt ends as it has many times, so there is always a guess: "a" behind "a".
  std::vector<int> counts(kKinds * kKinds * kKinds, 0);
  int num_draft = 0;
  for (int i = 0; i < kReplies; ++i) {
    Collector collector;
    Request request;
    request.prompt.assign(12, 97);
    request.sampling.temperature = 1;
    request.sampling.top_k = 0;
    request.sampling.top_p = 1;
    request.sampling.seed = static_cast<uint64_t>(i);
    request.max_tokens = 4;
    request.on_event = collector.callback();
    engine.submit(request);
    num_draft += collector.wait().num_draft_tokens;
    const auto tokens = collector.tokens();
    ASSERT_EQ(tokens.size(), 4u);
    // The last three: their steps may have had drafts.
    int index = 0;
    for (size_t t = 1; t < 4; ++t) index = index * kKinds + tokens[t].token - 97;
    ++counts[static_cast<size_t>(index)];
  }
  EXPECT_GT(num_draft, kReplies);
  double chi_square = 0;
  for (int index = 0; index < kKinds * kKinds * kKinds; ++index) {
    const double expected = kReplies * kShares[static_cast<size_t>(index / 16)] *
                            kShares[static_cast<size_t>(index / 4 % 4)] *
                            kShares[static_cast<size_t>(index % 4)];
    const double difference = counts[static_cast<size_t>(index)] - expected;
    chi_square += difference * difference / expected;
  }
  // 63 degrees of freedom: above 103 once in a thousand; the seeds are fixed.
  EXPECT_LT(chi_square, 103);
}

}  // namespace
}  // namespace sluice::engine
