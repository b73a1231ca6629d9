#include "engine/step_cost.h"

#include <algorithm>
#include <cmath>

namespace sluice::engine {
namespace {

// Sizes: 1 to 8, from there four to an octave: 10, 12, 14, 16, 20, 24, 28, 32, 40, ...
constexpr int kNumSizes = 52;  // the last one is 16,384

constexpr int size_of(int index) {
  return index < 3 ? index + 1 : (4 + (index - 3) % 4) << (index - 3) / 4;
}

// The index of the largest size that is not above `count`.
int size_index(int count) {
  if (count < 4) return std::max(count, 1) - 1;
  int octave = 0;
  while ((count >> octave) >= 8) ++octave;
  return std::min(3 + 4 * octave + (count >> octave) - 4, kNumSizes - 1);
}

static_assert(size_of(7) == 8 && size_of(8) == 10 && size_of(11) == 16 && size_of(12) == 20);
static_assert(size_of(kNumSizes - 1) == 16'384);

// Rows beside which prefill is told apart: more are served alike.
constexpr int kNumRowSizes = 28;  // up to 256
static_assert(size_of(kNumRowSizes - 1) == 256);

constexpr int kSmallest = 1;         // tokens of a chunk
constexpr double kMargin = 0.8;      // of the stretch is planned: the rest is for errors
constexpr double kMostDebt = 4;      // steps without prefill that make up for long ones
constexpr double kMostCredit = 1;    // and that may be made use of later
constexpr uint64_t kMemory = 512;    // steps after which measurements are forgotten
constexpr uint64_t kRetry = 256;     // steps after which a size that did not fit is tried again
constexpr double kOptimism = 1.3;    // how far beyond the limit a size may seem that is tried
constexpr uint64_t kRetrySoon = 8;   // when it was measured but once or twice
constexpr uint64_t kPureEvery = 32;  // steps
constexpr uint64_t kPureSoon = 4;    // when the time is not known or has changed
constexpr double kChanged = 0.15;

}  // namespace

void LearnedTimes::add(int index, double time, double x, uint64_t step) {
  Cell& cell = cells_[static_cast<size_t>(index)];
  if (step - cell.last_step > kMemory) cell.count = cell.next = 0;
  cell.samples[static_cast<size_t>(cell.next)] = {time, x};
  cell.next = (cell.next + 1) % kSamples;
  cell.count = std::min(cell.count + 1, kSamples);
  cell.last_step = step;
  if (cell.count == kSamples) learn_slope(cell);
}

// From pairs of medians at places far from each other.
void LearnedTimes::learn_slope(Cell& cell) {
  Sample median;
  std::array<double, kSamples> values;
  const auto median_of = [&](auto member) {
    std::transform(cell.samples.begin(), cell.samples.end(), values.begin(), member);
    std::nth_element(values.begin(), values.begin() + kSamples / 2, values.end());
    return values[kSamples / 2];
  };
  median.time = median_of([](const Sample& sample) { return sample.time; });
  median.x = median_of([](const Sample& sample) { return sample.x; });
  const auto is_near = [&](const Sample& sample) {
    return std::abs(sample.x - median.x) <= 0.1 * median.x;
  };
  if (!std::all_of(cell.samples.begin(), cell.samples.end(), is_near)) return;
  if (cell.has_anchor) {
    const double distance = median.x - cell.anchor.x;
    if (std::abs(distance) < 0.5 * std::max(median.x, cell.anchor.x)) return;
    // Least squares: the farther apart, the more a pair counts. Older ones fade.
    slope_numerator_ = 0.75 * slope_numerator_ + distance * (median.time - cell.anchor.time);
    slope_denominator_ = 0.75 * slope_denominator_ + distance * distance;
  }
  cell.anchor = median;
  cell.has_anchor = true;
}

double LearnedTimes::estimate(int index, double x) const {
  const Cell& cell = at(index);
  const double slope =
      slope_denominator_ > 0 ? std::max(0.0, slope_numerator_ / slope_denominator_) : 0;
  std::array<double, kSamples> values;
  for (int i = 0; i < cell.count; ++i) {
    const Sample& sample = cell.samples[static_cast<size_t>(i)];
    values[static_cast<size_t>(i)] =
        std::max(0.25 * sample.time, sample.time + slope * (x - sample.x));
  }
  std::sort(values.begin(), values.begin() + cell.count);
  const int last = cell.count - 1;
  const bool is_low = bias_ == Bias::kLow;
  if (cell.count > 2) return values[static_cast<size_t>(is_low ? last / 2 : (last + 1) / 2)];
  return values[static_cast<size_t>(is_low ? 0 : last)];
}

StepCost::StepCost(double max_stretch)
    : max_stretch_(max_stretch),
      decode_(kNumSizes, LearnedTimes::Bias::kLow),
      prefill_(kNumRowSizes * kNumSizes, LearnedTimes::Bias::kHigh) {}

int StepCost::cell_of(int rows, int size) const {
  return std::min(size_index(rows), kNumRowSizes - 1) * kNumSizes + size;
}

double StepCost::decode_time(int num_rows, double context) const {
  const int index = size_index(num_rows);
  if (decode_.is_sure(index)) return decode_.estimate(index, context);
  // More rows never take less time, nor more time for each.
  const auto knows = [this](int i) { return decode_.knows(i); };
  const auto is_sure = [this](int i) { return decode_.is_sure(i); };
  if (!decode_.knows(index)) return between(nearest(index, knows), index, context);
  const Neighbours sure = nearest(index, is_sure);
  double time = decode_.estimate(index, context);
  if (sure.below >= 0) {
    const double growth = static_cast<double>(size_of(index)) / size_of(sure.below);
    time = std::min(time, growth * decode_.estimate(sure.below, context));
  }
  if (sure.above < kNumSizes) time = std::min(time, decode_.estimate(sure.above, context));
  return time;
}

template <typename Condition>
StepCost::Neighbours StepCost::nearest(int index, Condition condition) const {
  Neighbours result{index - 1, index + 1};
  while (result.below >= 0 && !condition(result.below)) --result.below;
  while (result.above < kNumSizes && !condition(result.above)) ++result.above;
  return result;
}

// Too little rather than too much: what is between is on a straight line, what is beyond no more.
double StepCost::between(const Neighbours& neighbours, int index, double context) const {
  const auto [below, above] = neighbours;
  const double low = below < 0 ? 0 : decode_.estimate(below, context);
  if (above == kNumSizes) return low;
  const double high = decode_.estimate(above, context);
  const int low_size = below < 0 ? 0 : size_of(below);
  const double share = static_cast<double>(size_of(index) - low_size) / (size_of(above) - low_size);
  return std::min(low, high) + share * std::max(0.0, high - low);
}

double StepCost::prefill_time(int rows, int size, double context_per_token) const {
  return prefill_.estimate(cell_of(rows, size), size_of(size) * context_per_token);
}

bool StepCost::wants_pure_step(int rows) const {
  const uint64_t since = step_ - last_pure_step_;
  if (since >= kPureEvery || (probe_at_ > 0 && step_ >= probe_at_)) return true;
  if (step_ > 0 && decode_time(rows, 0) == 0) return true;
  const int index = size_index(rows);
  const bool is_known = decode_.is_sure(index) && decode_.age(index, step_) < kMemory;
  return !is_known && since >= kPureSoon;
}

// Where to start for a number of rows about which nothing is known.
int StepCost::first_size(int rows) const {
  if (decode_time(rows, 0) == 0) return size_index(kFirstGuess);
  return size_index(std::max(kSmallest, last_fit_ / 2));
}

// The index of the largest size known to fit, or of one above it that is worth a try.
int StepCost::choose_size(int rows, double limit, double context_per_token, int largest) const {
  int best = -1, largest_known = -1;
  for (int size = size_index(kSmallest); size <= largest; ++size) {
    if (!prefill_.knows(cell_of(rows, size))) continue;
    largest_known = size;
    if (prefill_time(rows, size, context_per_token) <= limit) best = size;
  }
  if (largest_known < 0) return std::min(first_size(rows), largest);
  if (best < 0) return std::min(size_index(kSmallest), largest);
  const double time = prefill_time(rows, best, context_per_token);
  const auto is_worth_a_try = [&](int size, double most_time) {
    return size <= largest && may_try(cell_of(rows, size)) &&
           time * size_of(size) / size_of(best) <= most_time;
  };
  // Time grows at most with the tokens, and often less: kernels compute rows in groups.
  int next = is_worth_a_try(best + 1, kOptimism * limit) ? best + 1 : best;
  if (best < largest_known) return next;
  // Where nothing larger is known, up to twice the size at once.
  while (next < best + 4 && is_worth_a_try(next + 1, limit)) ++next;
  return next;
}

bool StepCost::may_try(int cell) const {
  return !prefill_.knows(cell) ||
         prefill_.age(cell, step_) >= (prefill_.is_sure(cell) ? kRetry : kRetrySoon);
}

int StepCost::prefill_budget(const StepShape& shape, int most) {
  if (max_stretch_ <= 0 || most <= 0) return most;
  const int rows = shape.num_decode_rows;
  if (debt_ > 0 || wants_pure_step(rows)) return 0;
  const double limit = allowance(decode_time(rows, shape.decode_context));
  const int trusted = std::clamp(2 * last_fit_, kSmallest, most);
  return size_of(choose_size(rows, limit, shape.context_per_prefill, size_index(trusted)));
}

// Seconds of prefill that go beside decodes of so many seconds.
double StepCost::allowance(double decode_seconds) const {
  return kMargin * std::max(0.0, max_stretch_ - 1) * decode_seconds;
}

void StepCost::settle(double seconds_beyond, double allowed) {
  debt_ = std::clamp(debt_ + seconds_beyond - allowed, -kMostCredit * allowed, kMostDebt * allowed);
}

void StepCost::observe(const StepShape& shape, std::chrono::nanoseconds time) {
  ++step_;
  if (shape.num_decode_rows == 0) return;
  const double seconds = std::chrono::duration<double>(time).count();
  const int rows = shape.num_decode_rows;
  const double alone = decode_time(rows, shape.decode_context);
  const double beyond = shape.num_prefill_tokens > 0 ? seconds - alone : 0;
  settle(beyond, allowance(alone));
  if (shape.num_prefill_tokens == 0) {
    const int index = size_index(rows);
    const bool is_new = !decode_.knows(index) || std::abs(seconds - alone) > kChanged * alone;
    probe_at_ = is_new ? step_ + kPureSoon : 0;
    last_pure_step_ = step_;
    decode_.add(index, seconds, shape.decode_context, step_);
  } else if (alone > 0) {
    const double beside = std::max(0.01 * alone, seconds - alone);
    last_fit_ =
        static_cast<int>(std::min(1e6, shape.num_prefill_tokens * allowance(alone) / beside));
    const int size = size_index(shape.num_prefill_tokens);
    const double share = static_cast<double>(size_of(size)) / shape.num_prefill_tokens;
    prefill_.add(cell_of(rows, size), share * std::max(0.0, seconds - alone),
                 size_of(size) * shape.context_per_prefill, step_);
  }
}

}  // namespace sluice::engine
