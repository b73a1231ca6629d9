// The engine when there is no memory: every allocation of its thread fails once, and some in a row.

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "engine_fixture.h"
#include "fake_model.h"
#include "memory_faults.h"

namespace sluice::engine {
namespace {

// What the test does itself on the engine's thread does not fail.
using test::NoMemoryFaults;

std::function<void(const Event&)> undisturbed(const Collector& collector) {
  return [callback = Collector(collector).callback()](const Event& event) {
    const NoMemoryFaults pause;
    callback(event);
  };
}

Request some_request(int i, const Collector& collector) {
  Request request;
  request.prompt.assign(static_cast<size_t>(5 + 9 * i), i % 2);
  request.sampling.temperature = i % 2 ? 0.0f : 0.8f;
  request.sampling.seed = 1;
  request.max_tokens = 25;
  request.ignore_end_of_sequence = true;
  request.context_limit = 60;
  request.shift = true;
  request.stop_strings = {"a stop string that never comes"};
  request.num_top_logprobs = i == 1 ? 3 : -1;
  request.wants_queue_events = true;
  request.speculate = i == 0;
  if (i == 3) request.task = Task::kEmbed;
  request.on_event = undisturbed(collector);
  return request;
}

class Disturbed {
 public:
  // From the first step on, `num_failures` allocations fail behind the first `num_good`.
  Disturbed(int num_good, int num_failures)
      : model_(kBlocks, kVocabSize, 3),
        engine_(forward(num_good, num_failures), tokenizer(), tight()) {}

  void run() {
    constexpr int kRequests = 6;
    std::vector<Collector> collectors(kRequests);
    for (int i = 0; i < kRequests; ++i) {
      if (i == 4) collectors[0].wait_for_text_or_end();
      engine_.submit(some_request(i, collectors[static_cast<size_t>(i)]));
    }
    for (Collector& collector : collectors) {
      const Event last = collector.wait();
      if (last.reason != FinishReason::kError) continue;
      EXPECT_EQ(last.error, "out of memory");
      ++num_errors;
    }
    // It goes on when there is memory again.
    for (int i = 0; !serves(); ++i) ASSERT_LT(i, 200);
    for (const Collector& collector : collectors) {
      EXPECT_EQ(collector.num_final(), 1);
      EXPECT_FALSE(collector.had_event_after_final());
    }
    wait_for([&] { return engine_.stats().num_running == 0; });
    EXPECT_EQ(engine_.stats().num_blocks_used, 0);
    EXPECT_EQ(engine_.stats().num_waiting, 0);
  }

  int num_errors = 0;

 private:
  static constexpr int kBlocks = 9;

  static EngineOptions tight() {
    EngineOptions tight = options(kBlocks);
    tight.max_sequences = 3;
    tight.min_draft_gain = 0;
    tight.embedding_length = FakeModel::kStateSize;
    return tight;
  }

  Forward forward(int num_good, int num_failures) {
    return [this, num_good, num_failures, is_armed = false](const backend::Batch& batch) mutable {
      ForwardOutput output;
      {
        const NoMemoryFaults pause;
        output = model_.forward(batch);
      }
      if (!std::exchange(is_armed, true)) {
        test::memory_faults = {.num_good = num_good, .num_failures = num_failures};
      }
      return output;
    };
  }

  bool serves() {
    Collector collector;
    engine_.submit(some_request(0, collector));
    return collector.wait().reason == FinishReason::kMaxTokens;
  }

  FakeModel model_;
  TestEngine engine_;
};

TEST(EngineMemory, EveryRequestEndsWhateverAllocationFails) {
  for (const int num_failures : {1, 2, 30}) {
    int num_errors = 0;
    for (int num_good = 0; num_good < 400; ++num_good) {
      SCOPED_TRACE(std::to_string(num_failures) + " behind " + std::to_string(num_good));
      Disturbed disturbed(num_good, num_failures);
      disturbed.run();
      num_errors += disturbed.num_errors;
      ASSERT_FALSE(HasFailure());
    }
    EXPECT_GT(num_errors, 300);
  }
}

}  // namespace
}  // namespace sluice::engine
