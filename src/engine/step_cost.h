#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <vector>

#include "backend/backend.h"

namespace sluice::engine {

// What a step computes, as far as its time depends on it.
struct StepShape {
  int num_decode_rows = 0;          // next tokens of decoding sequences, drafts included
  double decode_context = 0;        // cached tokens that these rows look back on, in all
  int num_prefill_tokens = 0;       // tokens of prompts
  double context_per_prefill = 0;   // cached tokens that each of these looks back on, on average
  int num_free_prefill_tokens = 0;  // so many of them are not held against the bound of the ITL
};

// Times of like steps, learned from measurements that may be disturbed. A cell keeps its latest
// few; its estimate is their median, moved along `x` (how much context the step looks back on) with
// a slope that all cells share.
class LearnedTimes {
 public:
  enum class Bias { kLow, kHigh };  // which way to err while a cell has only one or two
  LearnedTimes(int num_cells, Bias bias) : bias_(bias), cells_(static_cast<size_t>(num_cells)) {}

  // `step` counts up. Measurements older than a few hundred steps no longer count then.
  void add(int cell, double time, double x, uint64_t step);
  bool knows(int cell) const { return at(cell).count > 0; }
  bool is_sure(int cell) const { return at(cell).count > 2; }
  uint64_t age(int cell, uint64_t step) const { return step - at(cell).last_step; }
  // Of a cell that knows something.
  double estimate(int cell, double x) const;

 private:
  static constexpr int kSamples = 5;
  struct Sample {
    double time = 0;
    double x = 0;
  };
  struct Cell {
    std::array<Sample, kSamples> samples;
    int count = 0;
    int next = 0;
    uint64_t last_step = 0;
    Sample anchor;  // an earlier median, at another x
    bool has_anchor = false;
  };

  const Cell& at(int cell) const { return cells_[static_cast<size_t>(cell)]; }
  void learn_slope(Cell& cell);

  Bias bias_;
  std::vector<Cell> cells_;
  double slope_numerator_ = 0;
  double slope_denominator_ = 0;
};

// How much prefill a step bears that also decodes: so much that it takes at most `max_stretch`
// times a step that only decodes. Both are learned from the steps measured, by the number of rows;
// the time of the machine itself is never asked, so a virtual clock gives the same every time.
//
// - Steps that took longer, because not even one token fits or their time was not known yet, are
//   made up for by steps that only decode: the bound holds for the mean of some steps in any case.
// - Chunks end where a group of rows does that is computed together (Traits::row_group).
// - Larger chunks are tried step by step, and again now and then.
// - When every step has prefill, one in 32 goes without, to measure it afresh; sooner when the time
//   of so many rows is not known or has changed.
class StepCost {
 public:
  // `max_stretch` above 1; 0: no bound.
  StepCost(double max_stretch, const backend::Traits& traits);

  // The most prefill tokens for the next step, beside these decodes, up to `most`; `shape` says all
  // but their number. 0 now and then, never for long; else at least the free ones. Call once a step
  // that has both. `may_borrow`: single steps may take longer than the bound, if those before took
  // less.
  int prefill_budget(const StepShape& shape, int most, bool may_borrow = false);
  // Whether a step with prefill was measured yet.
  bool knows_prefill() const { return row_seconds_ > 0; }
  // A step of this shape took `time`.
  void observe(const StepShape& shape, std::chrono::nanoseconds time);
  // Expected time in seconds of a step that only decodes; 0: not known.
  double decode_time(int num_rows, double context) const;

 private:
  static constexpr int kFirstGuess = 32;  // rows that fit, before any step was measured

  struct Neighbours {
    int below, above;
  };
  // A number of prefill tokens that fills up a group of rows.
  struct Size {
    int num_tokens = 0;
    int num_rows = 0;  // that are computed more than for the decodes alone
    int cell = 0;      // of prefill_
  };
  template <typename Condition>
  Neighbours nearest(int index, Condition condition) const;
  double between(const Neighbours& neighbours, int index, double context) const;
  bool wants_pure_step(int rows) const;
  int computed_rows(int rows) const;
  Size size_of_rows(int decode_rows, int more_rows) const;
  std::vector<Size> sizes(int decode_rows, int most) const;
  size_t choose(const std::vector<Size>& sizes, double limit, double context_per_token,
                int first_guess) const;
  bool may_try(int cell) const;
  double allowance(double decode_seconds) const;
  void settle(double seconds_beyond, double allowed);
  double prefill_time(const Size& size, double context_per_token) const;
  void learn_prefill(const StepShape& shape, double seconds_beyond);

  double max_stretch_;
  backend::Traits traits_;
  LearnedTimes decode_;  // cells: rows; x: context
  LearnedTimes
      prefill_;  // time beyond the decodes'; cells: rows and tokens; x: tokens times context
  uint64_t step_ = 0;
  uint64_t last_pure_step_ = 0;
  uint64_t probe_at_ = 0;         // a step without prefill is due then
  double debt_ = 0;               // seconds by which the latest steps took longer than they may
  bool has_full_credit_ = false;  // they took far less
  double row_seconds_ = 0;  // of a row of prefill in the latest step that had some; 0: none yet
};

}  // namespace sluice::engine
