#include "backend/cpu/staffing.h"

#include <algorithm>
#include <bit>

namespace sluice::backend::cpu {
namespace {

using std::chrono::milliseconds;

// Several of the system's time slices.
constexpr auto kWindow = milliseconds(30);
// How much a cost must be learned from. The first tenth of a second does not count: the system has
// not spread the other processes anew yet.
constexpr auto kKnown = milliseconds(150), kTried = milliseconds(200),
               kSettling = milliseconds(100);
// Of the cost: by so much must more members be better, and a trial may be worse.
constexpr double kWorthwhile = 0.95, kHopeless = 1.4;
// Between trials. Machines change within seconds; but trials that fail may cost their part of the
// time only.
constexpr auto kShortestPause = milliseconds(150), kLongestPause = milliseconds(3000);
constexpr int kPauseOfLoss = 64;  // times what a failed trial lost, at least
// Of the members' time, in waiting asleep. On a quiet machine it is next to nothing, or what is
// left at the end of phases of a few large pieces.
constexpr double kCrowdedShare = 0.12;
// After so long without that, what was learned of the crowd is of no use any more.
constexpr auto kQuiet = milliseconds(1000);
// What a step costs however few tokens it has, in tokens; only to compare steps of one kind.
constexpr double kFixedTokens = 4;

}  // namespace

size_t Staffing::kind_of(int num_tokens) {
  const int octave = std::bit_width(static_cast<unsigned>(std::max(1, num_tokens) - 1));
  return std::min(static_cast<size_t>(octave), std::tuple_size_v<decltype(kinds_)> - 1);
}

void Staffing::record(int num_tokens, Clock::duration took, Clock::duration waited,
                      Clock::time_point now) {
  if (team_size_ == 1) return;
  Kind& kind = kinds_[kind_of(num_tokens)];
  kind.work += num_tokens + kFixedTokens;
  kind.took += took;
  kind.waited += waited;
  if (kind.took < kWindow) return;
  const std::chrono::duration<double> took_seconds = kind.took, waited_seconds = kind.waited;
  const Window window = {took_seconds.count() / kind.work, kind.took,
                         waited_seconds > kCrowdedShare * num_members(num_tokens) * took_seconds};
  kind.work = 0;
  kind.took = kind.waited = {};
  if (kind.num_tried > 0) {
    go_on_with_trial(kind, window, now);
  } else {
    learn(kind, window, now);
  }
}

void Staffing::learn(Kind& kind, const Window& window, Clock::time_point now) const {
  kind.quiet = window.is_crowded ? Clock::duration{} : kind.quiet + window.took;
  if (window.is_crowded) kind.is_crowded = true;
  if (kind.quiet >= kQuiet) kind.is_crowded = false;
  if (kind.num_members == team_size_ && !kind.is_crowded) {
    kind.known = kind.pause = {};
    return;
  }
  kind.cost = kind.known > Clock::duration{} ? 0.8 * kind.cost + 0.2 * window.cost : window.cost;
  kind.known += window.took;
  if (kind.known >= kKnown && now >= kind.next_trial) begin_trial(kind);
}

void Staffing::begin_trial(Kind& kind) const {
  const bool may_grow = kind.num_members < team_size_;
  const bool may_shrink = kind.num_members > 1 && kind.is_crowded;
  if (!may_grow && !may_shrink) return;
  if (!(kind.is_growing ? may_grow : may_shrink)) kind.is_growing = may_grow;
  if (kind.is_growing) {
    kind.num_tried = std::min(kind.num_members + kind.stride, team_size_);
  } else {
    // Half of them at least, as a trial may be a long step.
    kind.num_tried = std::max(kind.num_members - kind.stride, (kind.num_members + 1) / 2);
  }
  kind.tried = kind.counted = {};
  kind.tried_cost = 0;
}

void Staffing::go_on_with_trial(Kind& kind, const Window& window, Clock::time_point now) const {
  const bool has_settled = kind.tried >= kSettling;
  kind.tried += window.took;
  if (!has_settled && window.took < kSettling) return;
  if (window.cost > kHopeless * kind.cost) return end_trial(kind, window.cost / kind.cost, now);
  if (!has_settled) return;
  const std::chrono::duration<double> before = kind.counted, took = window.took;
  kind.tried_cost =
      (kind.tried_cost * before.count() + window.cost * took.count()) / (before + took).count();
  kind.counted += window.took;
  if (kind.counted >= kTried) end_trial(kind, kind.tried_cost / kind.cost, now);
}

// With the cost as a part of what it was before.
void Staffing::end_trial(Kind& kind, double ratio, Clock::time_point now) const {
  if (ratio < (kind.is_growing ? kWorthwhile : 1.0)) {
    kind.num_members = kind.num_tried;
    kind.cost = kind.tried_cost;
    kind.pause = kShortestPause;
    kind.next_trial = now;  // and on in this direction
  } else {
    // Several busy processes: one member fewer is no better, but some fewer are.
    kind.stride = kind.stride < team_size_ / 2 ? 2 * kind.stride : 1;
    kind.is_growing = !kind.is_growing;
    kind.pause = std::clamp<Clock::duration>(2 * kind.pause, kShortestPause, kLongestPause);
    const auto loss = std::chrono::duration_cast<Clock::duration>(kind.tried * (1 - 1 / ratio));
    kind.next_trial = now + std::max(kind.pause, kPauseOfLoss * loss);
  }
  kind.num_tried = 0;
}

}  // namespace sluice::backend::cpu
