#include "engine/step_cost.h"

#include <algorithm>
#include <cmath>
#include <limits>

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

constexpr double kMargin = 0.8;    // of the stretch is planned: the rest is for errors
constexpr double kMostDebt = 4;    // steps without prefill that make up for long ones
constexpr double kMostCredit = 4;  // and that may be made use of later
constexpr double kMostLoan =
    0.5;  // so much of its allowance a step may take from all of the credit
constexpr uint64_t kMemory = 512;    // steps after which measurements are forgotten
constexpr uint64_t kRetry = 256;     // steps after which a size that did not fit is tried again
constexpr double kOptimism = 1.2;    // how far beyond the limit a size may seem that is tried
constexpr uint64_t kRetrySoon = 16;  // when it was measured but once or twice
constexpr uint64_t kRetryWithCredit = 32;  // when the latest steps took far less than they may
constexpr uint64_t kPureEvery = 32;        // steps
constexpr uint64_t kPureSoon = 4;          // when the time is not known or has changed
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

StepCost::StepCost(double max_stretch, const backend::Traits& traits)
    : max_stretch_(max_stretch),
      traits_(traits),
      decode_(kNumSizes, LearnedTimes::Bias::kLow),
      prefill_(kNumRowSizes * (kNumSizes + 1), LearnedTimes::Bias::kHigh) {}

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

// Rows that kernels compute for so many.
int StepCost::computed_rows(int rows) const {
  if (rows <= traits_.exact_rows) return rows;
  return (rows + traits_.row_group - 1) / traits_.row_group * traits_.row_group;
}

// Cells of prefill: by the size of the decodes, then 0 for rows that fit into their last group, and
// from 1 on by the size of the rows beyond.
StepCost::Size StepCost::size_of_rows(int decode_rows, int more_rows) const {
  const int computed = computed_rows(decode_rows);
  Size size;
  size.num_rows = computed_rows(computed + more_rows) - computed;
  size.num_tokens = computed + size.num_rows - decode_rows;
  const int row = std::min(size_index(decode_rows), kNumRowSizes - 1);
  const int column = size.num_rows == 0 ? 0 : 1 + size_index(size.num_rows);
  size.cell = row * (kNumSizes + 1) + column;
  return size;
}

// All that are told apart, up to `most` tokens: ascending, at least one.
std::vector<StepCost::Size> StepCost::sizes(int decode_rows, int most) const {
  std::vector<Size> sizes;
  const auto add = [&](const Size& size) {
    if (size.num_tokens == 0 || (!sizes.empty() && sizes.back().cell == size.cell)) return true;
    if (size.num_tokens > most && !sizes.empty()) return false;
    sizes.push_back(size);
    return true;
  };
  add(size_of_rows(decode_rows, 0));
  for (int i = 0; i < kNumSizes && add(size_of_rows(decode_rows, size_of(i))); ++i) {
  }
  return sizes;
}

double StepCost::prefill_time(const Size& size, double context_per_token) const {
  return prefill_.estimate(size.cell, size.num_tokens * context_per_token);
}

bool StepCost::wants_pure_step(int rows) const {
  const uint64_t since = step_ - last_pure_step_;
  if (since >= kPureEvery || (probe_at_ > 0 && step_ >= probe_at_)) return true;
  if (step_ > 0 && decode_time(rows, 0) == 0) return true;
  const int index = size_index(rows);
  const bool is_known = decode_.is_sure(index) && decode_.age(index, step_) < kMemory;
  return !is_known && since >= kPureSoon;
}

// The index of the largest size known to fit, or of one above it that is worth a try.
size_t StepCost::choose(const std::vector<Size>& sizes, double limit, double context_per_token,
                        int first_guess) const {
  constexpr size_t kNone = std::numeric_limits<size_t>::max();
  size_t best = kNone, largest_known = kNone, guess = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i].num_tokens <= first_guess) guess = i;
    if (!prefill_.knows(sizes[i].cell)) continue;
    largest_known = i;
    if (prefill_time(sizes[i], context_per_token) <= limit) best = i;
  }
  if (largest_known == kNone) return guess;
  if (best == kNone) return 0;
  // Time grows at most with the rows, and often less.
  const double row_seconds =
      sizes[best].num_rows > 0 ? prefill_time(sizes[best], context_per_token) / sizes[best].num_rows
                               : row_seconds_;
  const auto is_worth_a_try = [&](size_t i, double most_time) {
    return i < sizes.size() && may_try(sizes[i].cell) &&
           row_seconds * sizes[i].num_rows <= most_time;
  };
  size_t next = is_worth_a_try(best + 1, kOptimism * limit) ? best + 1 : best;
  if (best < largest_known) return next;
  // Where nothing larger is known, up to twice the size at once.
  while (next < best + 4 && is_worth_a_try(next + 1, limit)) ++next;
  return next;
}

// What has seemed too long may only have been disturbed, or lie at another context.
bool StepCost::may_try(int cell) const {
  if (!prefill_.knows(cell)) return true;
  const uint64_t retry = !prefill_.is_sure(cell) ? kRetrySoon
                         : has_full_credit_      ? kRetryWithCredit
                                                 : kRetry;
  return prefill_.age(cell, step_) >= retry;
}

int StepCost::prefill_budget(const StepShape& shape, int most, bool may_borrow) {
  if (max_stretch_ <= 0 || most <= 0) return most;
  const int rows = shape.num_decode_rows;
  if (wants_pure_step(rows)) return 0;
  const int free = shape.num_free_prefill_tokens;
  const int at_least = free > 0 ? std::min(most, computed_rows(rows + free) - rows) : 0;
  if (debt_ > 0) return at_least;
  const double alone = decode_time(rows, shape.decode_context);
  const double loan = may_borrow ? kMostLoan / kMostCredit * std::max(0.0, -debt_) : 0;
  const double limit = allowance(alone) + loan;
  const double fit = row_seconds_ > 0 ? std::min(1e6, limit / row_seconds_) : kFirstGuess;
  const std::vector<Size> all = sizes(rows, std::clamp(static_cast<int>(2 * fit), 1, most));
  const size_t index = choose(all, limit, shape.context_per_prefill, static_cast<int>(fit / 2));
  return std::clamp(all[index].num_tokens, at_least, most);
}

// Seconds of prefill that go beside decodes of so many seconds.
double StepCost::allowance(double decode_seconds) const {
  return kMargin * std::max(0.0, max_stretch_ - 1) * decode_seconds;
}

void StepCost::settle(double seconds_beyond, double allowed) {
  const double debt = debt_ + seconds_beyond - allowed;
  has_full_credit_ = debt <= -kMostCredit * allowed;
  debt_ = std::clamp(debt, -kMostCredit * allowed, kMostDebt * allowed);
}

void StepCost::observe(const StepShape& shape, std::chrono::nanoseconds time) {
  ++step_;
  if (shape.num_decode_rows == 0) return;
  const double seconds = std::chrono::duration<double>(time).count();
  const int rows = shape.num_decode_rows;
  const double alone = decode_time(rows, shape.decode_context);
  const double beyond = shape.num_prefill_tokens > 0 ? seconds - alone : 0;
  const double held = std::max(0, shape.num_prefill_tokens - shape.num_free_prefill_tokens);
  settle(beyond * held / std::max(1, shape.num_prefill_tokens), allowance(alone));
  if (shape.num_prefill_tokens == 0) {
    const int index = size_index(rows);
    const bool is_new = !decode_.knows(index) || std::abs(seconds - alone) > kChanged * alone;
    probe_at_ = is_new ? step_ + kPureSoon : 0;
    last_pure_step_ = step_;
    decode_.add(index, seconds, shape.decode_context, step_);
  } else if (alone > 0) {
    learn_prefill(shape, std::max(0.01 * alone, beyond));
  }
}

void StepCost::learn_prefill(const StepShape& shape, double seconds_beyond) {
  const int decode_rows = shape.num_decode_rows;
  const int all_rows = computed_rows(decode_rows + shape.num_prefill_tokens);
  const int more_rows = all_rows - computed_rows(decode_rows);
  Size size = size_of_rows(decode_rows, more_rows);
  double seconds = seconds_beyond;
  if (more_rows > 0) {
    row_seconds_ = seconds_beyond / more_rows;
    // Cells stand for their smallest size.
    const Size smallest = size_of_rows(decode_rows, size_of(size_index(more_rows)));
    if (smallest.cell == size.cell) size = smallest;
    seconds *= static_cast<double>(size.num_rows) / more_rows;
  }
  prefill_.add(size.cell, seconds, size.num_tokens * shape.context_per_prefill, step_);
}

}  // namespace sluice::engine
