#include "engine/request_trace.h"

#include <algorithm>
#include <new>

namespace sluice::engine {
namespace {

void extend(TraceSpan& span, const TraceSpan& next) {
  span.end = next.end;
  span.forward_time += next.forward_time;
  span.num_steps += next.num_steps;
  span.num_prompt_tokens += next.num_prompt_tokens;
  span.num_output_tokens += next.num_output_tokens;
  span.num_sequences += next.num_sequences;
  span.num_other_prompt_tokens += next.num_other_prompt_tokens;
  span.most_sequences = std::max(span.most_sequences, next.most_sequences);
}

bool is_alike(const TraceSpan& span, const TraceSpan& next) {
  return span.kind == next.kind && !next.was_preempted;
}

}  // namespace

void RequestTrace::add(const TraceSpan& step) noexcept {
  if (fits_last(step)) {
    extend(spans_.back(), step);
    return;
  }
  try {
    if (spans_.size() == kMostSpans) make_room();
    if (spans_.size() < kMostSpans) {
      spans_.push_back(step);
      return;
    }
  } catch (const std::bad_alloc&) {
  }
  if (!spans_.empty()) extend(spans_.back(), step);
}

void RequestTrace::add_output_token() noexcept {
  if (!spans_.empty()) ++spans_.back().num_output_tokens;
}

bool RequestTrace::fits_last(const TraceSpan& step) const {
  if (spans_.empty() || !is_alike(spans_.back(), step)) return false;
  return spans_.back().num_steps + step.num_steps <= stride(step.kind);
}

// Of the kind that has more.
void RequestTrace::make_room() {
  using Kind = TraceSpan::Kind;
  const auto num_prefills = std::count_if(spans_.begin(), spans_.end(), [](const TraceSpan& span) {
    return span.kind == Kind::kPrefill;
  });
  const bool has_more_prefills = static_cast<size_t>(num_prefills) * 2 > spans_.size();
  const Kind larger = has_more_prefills ? Kind::kPrefill : Kind::kDecode;
  const Kind smaller = has_more_prefills ? Kind::kDecode : Kind::kPrefill;
  if (!merge_neighbours(larger)) merge_neighbours(smaller);
}

// False when nothing has become less.
bool RequestTrace::merge_neighbours(TraceSpan::Kind kind) {
  const size_t before = spans_.size();
  constexpr int kLongestStride = 1 << 29;  // two of them can be added
  stride(kind) = std::min(stride(kind) * 2, kLongestStride);
  size_t kept = 0;
  for (size_t i = 1; i < spans_.size(); ++i) {
    TraceSpan& last = spans_[kept];
    const TraceSpan& next = spans_[i];
    const bool fits = last.num_steps + next.num_steps <= stride(kind);
    if (next.kind == kind && is_alike(last, next) && fits) {
      extend(last, next);
    } else {
      spans_[++kept] = next;
    }
  }
  spans_.resize(kept + 1);
  return spans_.size() < before;
}

}  // namespace sluice::engine
