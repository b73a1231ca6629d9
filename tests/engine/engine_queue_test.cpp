// What who waits is told: places, estimates, events; and what the statistics say of the queue.

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "engine_fixture.h"

namespace sluice::engine {
namespace {

EngineOptions one_at_a_time() {
  EngineOptions result = options();
  result.max_sequences = 1;
  return result;
}

// Lets a test stop the engine within a step and let it go on, again and again.
class Brake {
 public:
  Forward guard(Forward forward) {
    return [this, forward = std::move(forward)](const backend::Batch& batch) {
      while (is_on_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return forward(batch);
    };
  }
  void set(bool is_on) { is_on_ = is_on; }

 private:
  std::atomic<bool> is_on_ = true;
};

// The places that a request was told.
class Places {
 public:
  std::function<void(const Event&)> callback() {
    return [this](const Event& event) {
      std::lock_guard lock(mutex_);
      if (event.queue_place) places_.push_back(*event.queue_place);
      if (event.queue_place && !event.text.empty()) has_mixed_ = true;
      num_final_ += event.is_final ? 1 : 0;
    };
  }
  std::vector<int> positions() const {
    std::lock_guard lock(mutex_);
    std::vector<int> result;
    for (const QueuePlace& place : places_) result.push_back(place.position);
    return result;
  }
  bool has_ended() const {
    std::lock_guard lock(mutex_);
    return num_final_ > 0;
  }
  bool has_mixed() const { return has_mixed_; }

 private:
  mutable std::mutex mutex_;
  std::vector<QueuePlace> places_;
  std::atomic<bool> has_mixed_ = false;
  int num_final_ = 0;
};

Request watching_request(Places& places) {
  Request request;
  request.prompt = {65};
  request.sampling.temperature = 0;
  request.wants_queue_events = true;
  request.on_event = places.callback();
  return request;
}

TEST(EngineQueue, TicketTellsThePlaceAtThatMoment) {
  Brake brake;
  Collector first, second, third;
  TestEngine engine(brake.guard(scripted_text("ok")), tokenizer(), one_at_a_time());
  EXPECT_EQ(engine.submit(greedy_request(first)).place.position, 0) << "it need not wait";
  wait_for([&] { return engine.stats().num_running == 1; });
  EXPECT_EQ(engine.submit(greedy_request(second)).place.position, 1);
  const QueuePlace place = engine.submit(greedy_request(third)).place;
  EXPECT_EQ(place.position, 2);
  EXPECT_EQ(place.estimated_wait.count(), 0) << "nothing is known yet";
  brake.set(false);
  EXPECT_EQ(third.wait().reason, FinishReason::kEndOfSequence);
}

TEST(EngineQueue, BurstBeforeTheEngineWakesIsCountedToo) {
  Brake brake;
  EngineOptions four = options();
  four.max_sequences = 4;
  TestEngine engine(brake.guard(scripted_text("ok")), tokenizer(), four);
  std::vector<Collector> collectors(6);
  std::vector<int> positions;
  for (Collector& collector : collectors) {
    positions.push_back(engine.submit(greedy_request(collector)).place.position);
    if (positions.size() == 1) wait_for([&] { return engine.stats().num_running == 1; });
  }
  EXPECT_EQ(positions, (std::vector<int>{0, 0, 0, 0, 1, 2}));
  brake.set(false);
  for (Collector& collector : collectors) collector.wait();
}

TEST(EngineQueue, EventsTellThePlaceAtOnceAndWhenItChanges) {
  Brake brake;
  Collector first;
  Places second, third;
  TestEngine engine(brake.guard(slowed(scripted_text("some text that takes a while"))), tokenizer(),
                    one_at_a_time());
  engine.submit(greedy_request(first));
  wait_for([&] { return engine.stats().num_running == 1; });
  engine.submit(watching_request(second));
  engine.submit(watching_request(third));
  brake.set(false);
  wait_for([&] { return second.has_ended() && third.has_ended(); });
  ASSERT_FALSE(second.positions().empty());
  EXPECT_EQ(second.positions().front(), 1);
  ASSERT_FALSE(third.positions().empty());
  EXPECT_EQ(third.positions().front(), 2);
  EXPECT_LE(third.positions().size(), 2u) << "only what is new";
  EXPECT_FALSE(third.has_mixed());
}

TEST(EngineQueue, WhoNeedNotWaitOrDidNotAskGetsNoEvents) {
  Brake brake;
  Places first, second;
  TestEngine engine(brake.guard(scripted_text("ok")), tokenizer(), one_at_a_time());
  engine.submit(watching_request(first));
  wait_for([&] { return engine.stats().num_running == 1; });
  Request silent = watching_request(second);
  silent.wants_queue_events = false;
  engine.submit(std::move(silent));
  brake.set(false);
  wait_for([&] { return first.has_ended() && second.has_ended(); });
  EXPECT_TRUE(first.positions().empty());
  EXPECT_TRUE(second.positions().empty());
}

TEST(EngineQueue, CallbackThatThrowsWhileWaitingEndsTheRequest) {
  Brake brake;
  Collector first;
  TestEngine engine(brake.guard(scripted_text("ok")), tokenizer(), one_at_a_time());
  engine.submit(greedy_request(first));
  wait_for([&] { return engine.stats().num_running == 1; });
  std::atomic<int> num_final = 0;
  std::atomic<bool> is_error = false;
  Request request;
  request.prompt = {65};
  request.wants_queue_events = true;
  request.on_event = [&](const Event& event) {
    if (event.queue_place) throw std::runtime_error("no more");
    is_error = event.reason == FinishReason::kError && event.error.ends_with("no more");
    num_final += event.is_final ? 1 : 0;
  };
  engine.submit(std::move(request));
  brake.set(false);
  wait_for([&] { return num_final == 1; });
  EXPECT_TRUE(is_error);
  EXPECT_EQ(first.wait().reason, FinishReason::kEndOfSequence);
}

TEST(EngineQueue, EstimatesTheWaitOnceRequestsHaveComeOutOfTheQueue) {
  Brake brake;
  brake.set(false);
  TestEngine engine(brake.guard(slowed(scripted_text("abcdefgh"))), tokenizer(), one_at_a_time());
  EXPECT_EQ(engine.stats().estimated_wait.count(), 0);
  std::vector<Collector> collectors(7);
  for (int i = 0; i < 4; ++i) engine.submit(greedy_request(collectors[i]));
  for (int i = 0; i < 4; ++i) collectors[i].wait();
  wait_for([&] { return engine.stats().num_running == 0; });
  EXPECT_EQ(engine.stats().estimated_wait.count(), 0) << "nobody would have to wait";
  brake.set(true);
  engine.submit(greedy_request(collectors[4]));
  wait_for([&] { return engine.stats().num_running == 1; });
  engine.submit(greedy_request(collectors[5]));
  const QueuePlace place = engine.submit(greedy_request(collectors[6])).place;
  EXPECT_EQ(place.position, 2);
  // A reply has eight steps and the end, of at least a millisecond.
  EXPECT_GE(place.estimated_wait, std::chrono::milliseconds(2 * 8));
  const EngineStats stats = engine.stats();
  ASSERT_EQ(stats.requests.size(), 3u);
  EXPECT_EQ(stats.requests[0].estimated_wait.count(), 0);
  EXPECT_EQ(2 * stats.requests[1].estimated_wait, stats.requests[2].estimated_wait);
  EXPECT_EQ(3 * stats.requests[1].estimated_wait, stats.estimated_wait);
  brake.set(false);
  collectors[6].wait();
}

TEST(EngineQueue, CountsWhatWasCancelledApart) {
  Brake brake;
  Collector first, second;
  TestEngine engine(brake.guard(scripted_text("ok")), tokenizer(), one_at_a_time());
  engine.submit(greedy_request(first));
  const RequestId id = engine.submit(greedy_request(second)).id;
  engine.cancel(id);
  brake.set(false);
  EXPECT_EQ(second.wait().reason, FinishReason::kCancelled);
  EXPECT_EQ(first.wait().reason, FinishReason::kEndOfSequence);
  wait_for([&] { return engine.stats().num_requests_finished == 2; });
  EXPECT_EQ(engine.stats().num_requests_cancelled, 1u);
}

}  // namespace
}  // namespace sluice::engine
