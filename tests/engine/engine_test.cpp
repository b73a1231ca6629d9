#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <future>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "engine_fixture.h"
#include "fake_model.h"

namespace sluice::engine {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

TEST(Engine, RefusesOptionsOutOfRange) {
  const auto with = [](auto change) {
    EngineOptions bad = options();
    change(bad);
    return code_of([&] { TestEngine engine(scripted({66}), tokenizer(), bad); });
  };
  EXPECT_EQ(with([](EngineOptions& o) { o.num_blocks = 0; }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(with([](EngineOptions& o) { o.vocab_size = 0; }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(with([](EngineOptions& o) { o.max_queue = 0; }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(with([](EngineOptions& o) { o.max_batch_tokens = 1; }), ErrorCode::kInvalidArgument);
}

TEST(Engine, FullQueueIsAnsweredAtOnce) {
  Gate gate;
  EngineOptions small = options();
  small.max_queue = 3;
  small.max_sequences = 1;
  std::vector<Collector> collectors(5);
  TestEngine engine(gate.guard(scripted_text("x")), tokenizer(), small);
  engine.submit(greedy_request(collectors[0]));
  gate.wait_until_entered();
  for (int i = 1; i <= 3; ++i) {
    EXPECT_NO_THROW(engine.require_room());
    engine.submit(greedy_request(collectors[i]));
  }
  EXPECT_EQ(code_of([&] { engine.require_room(); }), ErrorCode::kBusy);
  EXPECT_EQ(code_of([&] { engine.submit(greedy_request(collectors[4])); }), ErrorCode::kBusy);

  const EngineStats stats = engine.stats();
  gate.open();
  EXPECT_EQ(stats.num_running, 1);
  EXPECT_EQ(stats.num_waiting, 3);
  EXPECT_EQ(stats.num_requests_rejected, 2u);
  ASSERT_EQ(stats.requests.size(), 4u);
  EXPECT_TRUE(stats.requests[0].is_running);
  EXPECT_EQ(stats.requests[0].queue_position, 0);
  EXPECT_EQ(stats.requests[3].queue_position, 3);
  for (int i = 0; i <= 3; ++i) EXPECT_EQ(collectors[i].wait().reason, FinishReason::kEndOfSequence);
  EXPECT_EQ(collectors[4].num_final(), 0);
  EXPECT_GT(collectors[3].wait().timings.queued.count(), 0);
}

TEST(Engine, WhoComesBesideAStepIsListedWhileItRuns) {
  Gate gate;
  int num_steps = 0;
  const Forward forward = scripted_text("xy");
  EngineOptions small = options();
  small.max_sequences = 1;
  std::vector<Collector> collectors(4);
  TestEngine engine(
      [&](const backend::Batch& batch) {
        return num_steps++ == 0 ? forward(batch) : gate.guard(forward)(batch);
      },
      tokenizer(), small);
  Request request = greedy_request(collectors[0]);
  // The second step's work beside it takes them out of the inbox.
  request.on_event = [&, collect = collectors[0].callback(),
                      has_others = false](const Event& event) mutable {
    collect(event);
    if (std::exchange(has_others, true)) return;
    engine.submit(greedy_request(collectors[1]));
    engine.submit(greedy_request(collectors[2]));
  };
  engine.submit(std::move(request));
  gate.wait_until_entered();
  engine.submit(greedy_request(collectors[3]));

  const EngineStats stats = engine.stats();
  gate.open();
  EXPECT_EQ(stats.num_waiting, 3);
  ASSERT_EQ(stats.requests.size(), 4u);
  EXPECT_TRUE(stats.requests[0].is_running);
  for (size_t i = 1; i <= 3; ++i) {
    EXPECT_FALSE(stats.requests[i].is_running);
    EXPECT_EQ(stats.requests[i].queue_position, static_cast<int>(i));
  }
  for (Collector& collector : collectors) collector.wait();
}

TEST(Engine, CountsHowLongRequestsTook) {
  TestEngine engine(scripted_text("hello"), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector);
  request.arrival = Clock::now() - std::chrono::seconds(3);  // it was read and prepared for long
  engine.submit(std::move(request));
  const Event last = collector.wait();
  ASSERT_EQ(last.reason, FinishReason::kEndOfSequence);
  wait_for([&] { return engine.stats().num_requests_finished == 1; });
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.num_ended[static_cast<size_t>(FinishReason::kEndOfSequence)], 1u);
  EXPECT_EQ(stats.time_to_first_token.num_values(), 1u);
  EXPECT_GE(stats.time_to_first_token.sum, 3.0);
  EXPECT_GE(stats.request_time.sum, stats.time_to_first_token.sum);
  EXPECT_EQ(stats.inter_token_time.num_values(), 5u);  // five letters and the end
  EXPECT_LT(stats.inter_token_time.sum, 3.0);
  EXPECT_EQ(stats.time_per_token.num_values(), 1u);
  EXPECT_NEAR(stats.decode_time.sum, stats.inter_token_time.sum, 1e-6);
  EXPECT_EQ(stats.queue_time.num_values(), 1u);
  EXPECT_EQ(stats.prompt_length.sum, 1.0);
  EXPECT_EQ(stats.reply_length.sum, 6.0);
  EXPECT_EQ(stats.step_rows.num_values(), stats.num_steps);
}

TEST(Engine, WhoLeavesEarlyMakesNothingLookFast) {
  TestEngine engine(slowed(scripted({66})), tokenizer(), options());
  Collector collector;
  const RequestId id = engine.submit(greedy_request(collector)).id;
  collector.wait_for_text();
  engine.cancel(id);
  collector.wait();
  wait_for([&] { return engine.stats().num_requests_cancelled == 1; });
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.num_ended[static_cast<size_t>(FinishReason::kCancelled)], 1u);
  EXPECT_EQ(stats.request_time.num_values(), 0u);
  EXPECT_EQ(stats.reply_length.num_values(), 0u);
  EXPECT_EQ(stats.time_to_first_token.num_values(), 1u);
}

TEST(Engine, CancelEndsRunningAndWaitingRequests) {
  EngineOptions small = options();
  small.max_sequences = 1;
  TestEngine engine(slowed(scripted({66})), tokenizer(), small);
  Collector running, waiting;
  const RequestId first = engine.submit(greedy_request(running)).id;
  const RequestId second = engine.submit(greedy_request(waiting)).id;
  running.wait_for_text();
  engine.cancel(second);
  const Event second_end = waiting.wait();
  EXPECT_EQ(second_end.reason, FinishReason::kCancelled);
  EXPECT_EQ(waiting.text(), "");
  engine.cancel(first);
  EXPECT_EQ(running.wait().reason, FinishReason::kCancelled);
  engine.cancel(first);
  engine.cancel(12345);
  wait_for([&] { return engine.stats().num_running == 0; });
  EXPECT_EQ(engine.stats().num_places, 1);
  EXPECT_EQ(engine.stats().num_blocks_used, 0);
  EXPECT_EQ(running.num_final(), 1);
}

TEST(Engine, AnEndThatIsAskedForIsNoCancellation) {
  TestEngine engine(slowed(scripted({66})), tokenizer(), options());
  Collector collector;
  const RequestId id = engine.submit(greedy_request(collector)).id;
  collector.wait_for_text();
  engine.end(id);
  EXPECT_EQ(collector.wait().reason, FinishReason::kEndOfSequence);
  engine.end(id);
  wait_for([&] { return engine.stats().num_requests_finished == 1; });
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.num_requests_cancelled, 0u);
  EXPECT_EQ(stats.num_ended[static_cast<size_t>(FinishReason::kEndOfSequence)], 1u);
}

TEST(Engine, CancelDuringAStepTakesEffectBeforeTheNext) {
  Gate gate;
  TestEngine engine(gate.guard(scripted({66})), tokenizer(), options());
  Collector collector;
  const RequestId id = engine.submit(greedy_request(collector)).id;
  gate.wait_until_entered();
  engine.cancel(id);
  gate.open();
  const Event last = collector.wait();
  EXPECT_EQ(last.reason, FinishReason::kCancelled);
  EXPECT_EQ(last.num_output_tokens, 1);
}

TEST(Engine, DeadlineEndsTheRequest) {
  TestEngine engine(scripted({66}), tokenizer(), options(10'000));
  Collector late, endless;
  Request request = greedy_request(late);
  request.deadline = Clock::now() - milliseconds(1);
  engine.submit(request);
  const Event last = late.wait();
  EXPECT_EQ(last.reason, FinishReason::kDeadline);
  EXPECT_EQ(last.num_output_tokens, 0);

  TestEngine slow(slowed(scripted({66})), tokenizer(), options(10'000));
  request = greedy_request(endless);
  request.deadline = Clock::now() + milliseconds(30);
  slow.submit(request);
  EXPECT_EQ(endless.wait().reason, FinishReason::kDeadline);
}

TEST(Engine, FailingStepEndsItsSequencesAndTheEngineLivesOn) {
  std::atomic<bool> is_broken = true;
  TestEngine engine(
      [&, forward = scripted_text("ok")](const backend::Batch& batch) {
        if (is_broken) throw Error(ErrorCode::kInternal, "the device is gone");
        return forward(batch);
      },
      tokenizer(), options());
  Collector failed, fine;
  engine.submit(greedy_request(failed));
  const Event last = failed.wait();
  EXPECT_EQ(last.reason, FinishReason::kError);
  EXPECT_EQ(last.error, "the device is gone");
  is_broken = false;
  engine.submit(greedy_request(fine));
  EXPECT_EQ(fine.wait().reason, FinishReason::kEndOfSequence);
  EXPECT_EQ(fine.text(), "ok");
}

TEST(Engine, TooFewTokensAreAnError) {
  class Forgetful : public FakeBackend {
   public:
    using FakeBackend::FakeBackend;
    backend::StepResult wait() override {
      backend::StepResult result = FakeBackend::wait();
      result.tokens = result.tokens.subspan(1);
      return result;
    }
  };
  Forgetful backend(scripted({66}));
  Engine engine(backend, tokenizer(), options());
  Collector collector;
  engine.submit(greedy_request(collector));
  EXPECT_THAT(collector.wait().error, HasSubstr("number of tokens"));
}

TEST(Engine, BrokenLogitsEndOnlyTheirOwnSequence) {
  TestEngine engine(
      [forward = scripted_text("ok"),
       logits = std::vector<float>()](const backend::Batch& batch) mutable {
        const std::span<const float> fine = forward(batch).logits;
        logits.assign(fine.begin(), fine.end());
        size_t row = 0;
        for (const int32_t token : batch.logit_rows) {
          if (batch.tokens[static_cast<size_t>(token)] == 13) {
            std::fill_n(logits.begin() + static_cast<ptrdiff_t>(row * kVocabSize), kVocabSize,
                        std::numeric_limits<float>::quiet_NaN());
          }
          ++row;
        }
        return ForwardOutput{logits, {}};
      },
      tokenizer(), options());
  Collector broken, fine;
  engine.submit(greedy_request(broken, {13}));
  engine.submit(greedy_request(fine, {65}));
  const Event last = broken.wait();
  EXPECT_EQ(last.reason, FinishReason::kError);
  EXPECT_THAT(last.error, HasSubstr("finite"));
  EXPECT_EQ(fine.wait().reason, FinishReason::kEndOfSequence);
}

TEST(Engine, ThrowingCallbackEndsItsRequestOnly) {
  TestEngine engine(scripted_text("hello"), tokenizer(), options());
  std::atomic<int> num_events = 0;
  std::promise<Event> final_event;
  Request bad;
  bad.prompt = {65};
  bad.sampling.temperature = 0;
  bad.on_event = [&](const Event& event) {
    ++num_events;
    if (event.is_final) final_event.set_value(event);
    throw std::runtime_error("client trouble");
  };
  Collector good;
  engine.submit(bad);
  engine.submit(greedy_request(good));
  const Event last = final_event.get_future().get();
  EXPECT_EQ(last.reason, FinishReason::kError);
  EXPECT_THAT(last.error, HasSubstr("client trouble"));
  EXPECT_EQ(good.wait().reason, FinishReason::kEndOfSequence);
  EXPECT_EQ(num_events, 2);
}

TEST(Engine, CallbackMaySubmitAndCancel) {
  Collector second;
  TestEngine engine(scripted_text("hello"), tokenizer(), options());
  std::promise<Event> final_event;
  Request first;
  first.prompt = {65};
  first.sampling.temperature = 0;
  std::atomic<RequestId> id = 0;
  first.on_event = [&](const Event& event) {
    if (event.is_final) {
      engine.submit(greedy_request(second));
      final_event.set_value(event);
    } else if (event.text == "e") {
      while (id == 0) std::this_thread::yield();
      engine.cancel(id);
      engine.stats();
    }
  };
  id = engine.submit(first).id;
  EXPECT_EQ(final_event.get_future().get().reason, FinishReason::kCancelled);
  EXPECT_EQ(second.wait().reason, FinishReason::kEndOfSequence);
}

TEST(Engine, DestructorCancelsWhatIsLeft) {
  std::vector<Collector> collectors(20);
  {
    EngineOptions small = options();
    small.max_sequences = 4;
    TestEngine engine(slowed(scripted({66})), tokenizer(), small);
    for (Collector& collector : collectors) engine.submit(greedy_request(collector));
    collectors[0].wait_for_text();
  }
  for (Collector& collector : collectors) {
    EXPECT_EQ(collector.num_final(), 1);
    EXPECT_EQ(collector.wait().reason, FinishReason::kCancelled);
    EXPECT_FALSE(collector.had_event_after_final());
  }
}

double process_cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

TEST(Engine, SleepsWhenIdle) {
  TestEngine engine(scripted_text("x"), tokenizer(), options());
  Collector collector;
  engine.submit(greedy_request(collector));
  collector.wait();
  std::this_thread::sleep_for(milliseconds(100));
  const double before = process_cpu_seconds();
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_LT(process_cpu_seconds() - before, 0.05);
}

TEST(Engine, ItsThreadHasAName) {
  TestEngine engine(scripted_text("x"), tokenizer(), options());
  Collector collector;
  engine.submit(greedy_request(collector));
  collector.wait();
  std::vector<std::string> names;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "comm");
    std::getline(file, names.emplace_back());
  }
  EXPECT_THAT(names, testing::Contains("engine"));
}

struct Outcome {
  std::vector<text::TokenId> tokens;
  std::string text;
};

Outcome outcome_of(const Collector& collector) {
  Outcome outcome;
  outcome.text = collector.text();
  for (const OutputToken& token : collector.tokens()) outcome.tokens.push_back(token.token);
  return outcome;
}

// Every request alone on a roomy engine, then all together on one whose cache is far too small.
TEST(Engine, RepliesAreTheSameAloneAndInACrowd) {
  constexpr int kRequests = 40;
  std::mt19937_64 random(11);
  std::vector<Request> requests(kRequests);
  for (Request& request : requests) {
    const size_t shared = random() % 3 * 30;
    request.prompt.assign(shared, static_cast<text::TokenId>(random() % 2));
    const size_t own = 1 + random() % 20;
    for (size_t i = 0; i < own; ++i) request.prompt.push_back(static_cast<int>(random() % 250));
    request.max_tokens = static_cast<int>(1 + random() % 140);
    request.ignore_end_of_sequence = true;
    request.sampling.temperature = random() % 2 ? 0.0f : 0.8f;
    request.sampling.seed = random();
    request.sampling.repeat_penalty = 1.1f;
  }
  std::vector<Outcome> alone;
  for (const Request& request : requests) {
    EngineOptions roomy = options(200);
    roomy.max_batch_tokens = 1000;
    FakeModel model(roomy.num_blocks, kVocabSize);
    TestEngine engine([&](const backend::Batch& batch) { return model.forward(batch); },
                      tokenizer(), roomy);
    Collector collector;
    Request copy = request;
    copy.on_event = collector.callback();
    engine.submit(copy);
    collector.wait();
    alone.push_back(outcome_of(collector));
  }

  EngineOptions tight = options(20);
  FakeModel model(tight.num_blocks, kVocabSize);
  Gate gate;
  TestEngine engine(gate.guard([&](const backend::Batch& batch) { return model.forward(batch); }),
                    tokenizer(), tight);
  std::vector<Collector> collectors(kRequests);
  for (int i = 0; i < kRequests; ++i) {
    Request copy = requests[i];
    copy.on_event = collectors[i].callback();
    engine.submit(copy);
  }
  gate.open();
  for (int i = 0; i < kRequests; ++i) {
    EXPECT_EQ(collectors[i].wait().reason, FinishReason::kMaxTokens);
    const Outcome crowded = outcome_of(collectors[i]);
    EXPECT_EQ(crowded.tokens, alone[i].tokens) << "request " << i;
    EXPECT_EQ(crowded.text, alone[i].text) << "request " << i;
  }
  wait_for([&] { return engine.stats().num_running == 0; });
  const EngineStats stats = engine.stats();
  EXPECT_GT(stats.num_preemptions, 0u) << "the cache is not small enough for this test";
  EXPECT_GT(stats.num_cached_tokens, 100u);
  EXPECT_EQ(stats.num_blocks_used, 0);
}

TEST(Engine, ManyThreadsSubmitCancelAndWatch) {
  EngineOptions small = options(30);
  small.max_queue = 20;
  FakeModel model(small.num_blocks, kVocabSize);
  std::atomic<int> num_accepted = 0, num_refused = 0;
  std::vector<std::vector<Collector>> collectors(4);
  {
    TestEngine engine([&](const backend::Batch& batch) { return model.forward(batch); },
                      tokenizer(), small);
    std::atomic<bool> is_done = false;
    std::thread watcher([&] {
      while (!is_done) {
        const EngineStats stats = engine.stats();
        EXPECT_LE(stats.num_running, small.max_sequences);
        EXPECT_LE(stats.num_blocks_used, small.num_blocks);
        std::this_thread::sleep_for(milliseconds(1));
      }
    });
    std::vector<std::thread> clients;
    for (size_t t = 0; t < collectors.size(); ++t) {
      clients.emplace_back([&, t] {
        std::mt19937_64 random(t);
        for (int i = 0; i < 60; ++i) {
          Collector collector;
          Request request = greedy_request(collector, {static_cast<int>(random() % 250)});
          request.max_tokens = static_cast<int>(random() % 30);
          if (random() % 5 == 0) request.deadline = Clock::now() + milliseconds(random() % 20);
          try {
            const RequestId id = engine.submit(request).id;
            ++num_accepted;
            collectors[t].push_back(collector);
            if (random() % 3 == 0) engine.cancel(id);
            if (random() % 4 == 0) collector.wait();
          } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kBusy);
            ++num_refused;
          }
        }
      });
    }
    for (std::thread& client : clients) client.join();
    is_done = true;
    watcher.join();
  }
  EXPECT_EQ(num_accepted + num_refused, 240);
  for (const auto& mine : collectors) {
    for (const Collector& collector : mine) {
      EXPECT_EQ(collector.num_final(), 1);
      EXPECT_FALSE(collector.had_event_after_final());
    }
  }
}

}  // namespace
}  // namespace sluice::engine
