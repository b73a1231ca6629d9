#include "engine/request_trace.h"

#include <gtest/gtest.h>

#include <random>

#include "engine_fixture.h"

namespace sluice::engine {
namespace {

using Kind = TraceSpan::Kind;
using std::chrono::nanoseconds;

TraceSpan step_at(int time, Kind kind, int num_prompt_tokens = 0) {
  TraceSpan step;
  step.kind = kind;
  step.begin = nanoseconds(time);
  step.end = nanoseconds(time + 1);
  step.forward_time = nanoseconds(1);
  step.num_steps = 1;
  step.num_sequences = step.most_sequences = 1 + time % 7;
  step.num_prompt_tokens = num_prompt_tokens;
  return step;
}

TEST(RequestTrace, KeepsEveryStepOfAShortRequest) {
  RequestTrace trace;
  trace.add(step_at(0, Kind::kPrefill, 100));
  trace.add(step_at(1, Kind::kPrefill, 20));
  trace.add_output_token();
  for (int i = 2; i < 10; ++i) {
    trace.add(step_at(i, Kind::kDecode));
    trace.add_output_token();
  }
  ASSERT_EQ(trace.spans().size(), 10u);
  EXPECT_EQ(trace.spans()[0].num_prompt_tokens, 100);
  EXPECT_EQ(trace.spans()[0].num_output_tokens, 0);
  EXPECT_EQ(trace.spans()[1].num_output_tokens, 1);
  EXPECT_EQ(trace.spans()[9].most_sequences, 1 + 9 % 7);
}

TEST(RequestTrace, LongOnesGetCoarserAndLoseNothing) {
  RequestTrace trace;
  constexpr int kChunks = 5;
  constexpr int kSteps = 10'000;
  for (int i = 0; i < kChunks; ++i) trace.add(step_at(i, Kind::kPrefill, 64));
  for (int i = kChunks; i < kSteps; ++i) {
    trace.add(step_at(i, Kind::kDecode));
    trace.add_output_token();
  }
  ASSERT_LE(trace.spans().size(), RequestTrace::kMostSpans);
  EXPECT_GT(trace.spans().size(), RequestTrace::kMostSpans / 3);
  int num_steps = 0, num_tokens = 0;
  nanoseconds end{};
  for (const TraceSpan& span : trace.spans()) {
    EXPECT_EQ(span.begin, end);
    end = span.end;
    num_steps += span.num_steps;
    num_tokens += span.num_output_tokens;
  }
  EXPECT_EQ(num_steps, kSteps);
  EXPECT_EQ(num_tokens, kSteps - kChunks);
  EXPECT_EQ(end, nanoseconds(kSteps));
  for (int i = 0; i < kChunks; ++i) EXPECT_EQ(trace.spans()[i].num_prompt_tokens, 64);
}

TEST(RequestTrace, WhatCannotBeMergedStaysBounded) {
  std::mt19937 random(7);
  RequestTrace trace;
  int num_steps = 0;
  for (int i = 0; i < 5'000; ++i) {
    TraceSpan step = step_at(i, random() % 2 == 0 ? Kind::kPrefill : Kind::kDecode);
    step.was_preempted = random() % 3 == 0;
    trace.add(step);
  }
  EXPECT_LE(trace.spans().size(), RequestTrace::kMostSpans);
  for (const TraceSpan& span : trace.spans()) num_steps += span.num_steps;
  EXPECT_EQ(num_steps, 5'000);
}

TEST(Engine, TracesWhatItsStepsDid) {
  TestEngine engine(scripted_text("hello"), tokenizer(), options());
  Collector collector;
  engine.submit(greedy_request(collector));
  const Event last = collector.wait();
  ASSERT_TRUE(last.trace);
  const auto spans = last.trace->spans();
  ASSERT_EQ(spans.size(), 6u);  // the prompt, then a letter a step and the end
  EXPECT_EQ(spans[0].kind, Kind::kPrefill);
  EXPECT_EQ(spans[0].num_prompt_tokens, 1);
  EXPECT_EQ(spans[5].kind, Kind::kDecode);
  int num_tokens = 0;
  for (const TraceSpan& span : spans) {
    EXPECT_EQ(span.num_steps, 1);
    EXPECT_EQ(span.most_sequences, 1);
    EXPECT_LE(span.begin, span.end);
    EXPECT_LE(span.forward_time, span.end - span.begin);
    num_tokens += span.num_output_tokens;
  }
  EXPECT_EQ(num_tokens, last.num_output_tokens);
  EXPECT_GE(spans[0].begin, last.timings.queued - std::chrono::milliseconds(1));
  wait_for([&] { return engine.stats().num_requests_finished == 1; });
  EXPECT_GT(engine.stats().fastest_decode.count(), 0);
}

}  // namespace
}  // namespace sluice::engine
