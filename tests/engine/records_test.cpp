// What the engine remembers of steps and requests.

#include "engine/records.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "engine_fixture.h"
#include "fake_model.h"

namespace sluice::engine {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

uint64_t num_times(const TimeHistogram& histogram) {
  return std::accumulate(histogram.counts.begin(), histogram.counts.end(), uint64_t{0});
}

TEST(TimeHistogram, EachTimeIsInTheFirstBucketThatHoldsIt) {
  TimeHistogram histogram;
  histogram.add(microseconds(0));
  histogram.add(microseconds(250));
  histogram.add(microseconds(251));
  histogram.add(milliseconds(1));
  histogram.add(std::chrono::hours(1));
  EXPECT_EQ(histogram.counts[0], 2u);
  EXPECT_EQ(histogram.counts[1], 1u);
  EXPECT_EQ(histogram.counts[4], 1u);
  EXPECT_EQ(histogram.counts.back(), 1u);
  EXPECT_EQ(num_times(histogram), 5u);
}

TEST(TimeHistogram, BucketsDoubleEverySecondOne) {
  for (size_t i = 2; i + 1 < TimeHistogram::kNumBuckets; ++i) {
    const double ratio = static_cast<double>(TimeHistogram::limit(i).count()) /
                         static_cast<double>(TimeHistogram::limit(i - 2).count());
    EXPECT_NEAR(ratio, 2, 1e-3);
  }
}

TEST(RecordLog, KeepsTheLatest) {
  RecordLog<int, 4> log;
  EXPECT_TRUE(log.since(0).records.empty());
  for (int i = 0; i < 3; ++i) log.add(i);
  EXPECT_EQ(log.since(1).records, (std::vector<int>{1, 2}));
  for (int i = 3; i < 10; ++i) log.add(i);
  const auto page = log.since(1);
  EXPECT_EQ(page.records, (std::vector<int>{6, 7, 8, 9}));
  EXPECT_EQ(page.next, 10u);
  EXPECT_TRUE(log.since(page.next).records.empty());
}

TEST(EngineRecords, AStepSaysWhatWasInIt) {
  TestEngine engine(slowed(scripted({66}, 70)), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector, std::vector<text::TokenId>(70, 7));
  request.max_tokens = 4;
  engine.submit(request);
  collector.wait();
  wait_for([&] { return engine.steps(0).next == 5; });  // 64 tokens a step at most
  const std::vector<StepRecord> steps = engine.steps(0).records;
  const std::vector<int> prefill_rows = {64, 6, 0, 0, 0}, decode_rows = {0, 0, 1, 1, 1};
  for (size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i].num_prefill_rows, prefill_rows[i]);
    EXPECT_EQ(steps[i].num_decode_rows, decode_rows[i]);
    EXPECT_EQ(steps[i].num_draft_rows, 0);
    EXPECT_EQ(steps[i].num_sequences, 1);
    EXPECT_EQ(steps[i].num_blocks_used, 5);
    EXPECT_GE(steps[i].forward_time, milliseconds(1));
    EXPECT_GT(steps[i].schedule_time.count(), 0);
    if (i == 0) continue;
    EXPECT_GT(steps[i].begin, steps[i - 1].begin);
  }
}

TEST(EngineRecords, ARequestsRecordIsInItsFinalEventAndIsKept) {
  TestEngine engine(slowed(scripted({66}, 20)), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector, std::vector<text::TokenId>(20, 7));
  request.max_tokens = 10;
  const RequestId id = engine.submit(request).id;
  const Event last = collector.wait();
  wait_for([&] { return engine.ended_requests(0).next == 1; });
  const RequestRecord kept = engine.ended_requests(0).records.at(0);
  for (const RequestRecord& record : {RequestRecord(last), kept}) {
    EXPECT_EQ(record.id, id);
    EXPECT_EQ(record.task, Task::kGenerate);
    EXPECT_EQ(record.reason, FinishReason::kMaxTokens);
    EXPECT_EQ(record.num_prompt_tokens, 20);
    EXPECT_EQ(record.num_prefilled_tokens, 20);
    EXPECT_EQ(record.num_cached_tokens, 0);
    EXPECT_EQ(record.num_output_tokens, 10);
    EXPECT_EQ(record.num_preemptions, 0);
    EXPECT_GT(record.timings.prefill.count(), 0);
    EXPECT_EQ(num_times(record.inter_token_times), 9u) << "the first token ends the prefill";
    EXPECT_EQ(record.inter_token_times.counts[0], 0u) << "each step takes a millisecond";
  }
}

TEST(EngineRecords, PreemptionsAndWhatWasComputedAgainAreInTheRecord) {
  EngineOptions tight = options(6);
  FakeModel model(tight.num_blocks, kVocabSize);
  Gate gate;
  TestEngine engine(gate.guard([&](const backend::Batch& batch) { return model.forward(batch); }),
                    tokenizer(), tight);
  std::vector<Collector> collectors(2);
  for (size_t i = 0; i < 2; ++i) {
    Request request =
        greedy_request(collectors[i], std::vector<text::TokenId>(30, static_cast<int>(i)));
    request.max_tokens = 40;
    request.ignore_end_of_sequence = true;
    engine.submit(request);
  }
  gate.open();
  EXPECT_EQ(collectors[0].wait().num_preemptions, 0);
  const Event second = collectors[1].wait();
  EXPECT_EQ(second.num_preemptions, 1);
  EXPECT_GT(second.num_prefilled_tokens, 30);
}

TEST(EngineRecords, StoppingTellsWhatWasCounted) {
  TestEngine engine(scripted({66}), tokenizer(), options());
  Collector collector;
  Request request = greedy_request(collector);
  request.max_tokens = 7;
  engine.submit(request);
  collector.wait();
  const EngineTotals totals = engine.stop();
  EXPECT_EQ(totals.num_output_tokens, 7u);
  EXPECT_EQ(totals.num_requests_finished, 1u);
  EXPECT_EQ(engine.stop().num_output_tokens, 7u) << "once more does nothing";
  EXPECT_EQ(code_of([&] { engine.submit(request); }), ErrorCode::kBusy);
}

}  // namespace
}  // namespace sluice::engine
