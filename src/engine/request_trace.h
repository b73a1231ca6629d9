#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

// What the steps of an engine did for one request, for those who ask why it took so long.
namespace sluice::engine {

// Steps one behind the other that did the same for a request.
struct TraceSpan {
  enum class Kind : uint8_t { kPrefill, kDecode };
  Kind kind = Kind::kPrefill;
  bool was_preempted = false;        // before it: what had been computed is computed again
  std::chrono::nanoseconds begin{};  // since the request was submitted
  std::chrono::nanoseconds end{};
  std::chrono::nanoseconds forward_time{};  // of the steps, in the backend
  int num_steps = 0;
  int num_prompt_tokens = 0;  // of the request, computed here; what is computed again counted in
  int num_output_tokens = 0;  // added to its reply
  // Sums over the steps: sequences that had a part in them, and tokens of others' prompts.
  int64_t num_sequences = 0;
  int64_t num_other_prompt_tokens = 0;
  int most_sequences = 0;  // of one step
};

// Bounded: when there are too many spans, neighbours become one, so that the picture gets coarser
// but stays whole.
class RequestTrace {
 public:
  static constexpr size_t kMostSpans = 64;

  // A step that had a part for the request: `step` is a span of that one step. Without memory for
  // another span it is laid to the last one.
  void add(const TraceSpan& step) noexcept;
  // The latest step gave a token.
  void add_output_token() noexcept;

  std::span<const TraceSpan> spans() const { return spans_; }

 private:
  bool fits_last(const TraceSpan& step) const;
  void make_room();
  bool merge_neighbours(TraceSpan::Kind kind);
  int& stride(TraceSpan::Kind kind) { return strides_[static_cast<size_t>(kind)]; }
  int stride(TraceSpan::Kind kind) const { return strides_[static_cast<size_t>(kind)]; }

  std::vector<TraceSpan> spans_;
  int strides_[2] = {1, 1};  // most steps of a span, by kind
};

}  // namespace sluice::engine
