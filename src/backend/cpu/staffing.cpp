#include "backend/cpu/staffing.h"

#include <algorithm>
#include <bit>

namespace sluice::backend::cpu {
namespace {

using std::chrono::milliseconds;

// Several of the system's time slices, so that a window says how the cores are shared.
constexpr auto kWindow = milliseconds(30);
// Between trials. Machines change within seconds; but where steps are long a trial that fails costs
// a whole one, and may cost its part of the time only.
constexpr auto kShortestPause = milliseconds(150), kLongestPause = milliseconds(3000);
constexpr int kPauseOfTrial = 32;  // times as long as a failed trial, at least
// Of the members' time, in waiting asleep. On a quiet machine it is next to nothing, or what is
// left at the end of phases of a few large pieces.
constexpr double kCrowdedShare = 0.12;
// Of the cost: by so much must another number be better.
constexpr double kWorthwhile = 0.97;
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
  const Clock::duration window = kind.took;
  const std::chrono::duration<double> seconds = window, waiting = kind.waited;
  const double cost = seconds.count() / kind.work;
  const bool is_crowded =
      waiting.count() > kCrowdedShare * seconds.count() * num_members(num_tokens);
  kind.work = 0;
  kind.took = kind.waited = {};
  if (kind.num_tried > 0) {
    judge_trial(kind, cost, window, now);
    return;
  }
  kind.cost = kind.cost > 0 ? 0.7 * kind.cost + 0.3 * cost : cost;
  if (kind.num_members == team_size_ && !is_crowded) {
    kind.pause = {};  // quiet: what was learned of the crowd is of no use any more
  } else if (now >= kind.next_trial) {
    begin_trial(kind, is_crowded);
  }
}

void Staffing::begin_trial(Kind& kind, bool is_crowded) const {
  const bool may_grow = kind.num_members < team_size_;
  const bool may_shrink = kind.num_members > 1 && is_crowded;
  if (!may_grow && !may_shrink) return;
  if (!(kind.is_growing ? may_grow : may_shrink)) kind.is_growing = may_grow;
  if (kind.is_growing) {
    kind.num_tried = std::min(kind.num_members + kind.stride, team_size_);
  } else {
    // Half of them at least, as a trial may be a long step.
    kind.num_tried = std::max(kind.num_members - kind.stride, (kind.num_members + 1) / 2);
  }
}

void Staffing::judge_trial(Kind& kind, double cost, Clock::duration took,
                           Clock::time_point now) const {
  if (cost < kWorthwhile * kind.cost) {
    kind.num_members = kind.num_tried;
    kind.cost = cost;
    kind.pause = kShortestPause;
    kind.next_trial = now;  // and on in this direction
  } else {
    // Several busy processes: one member fewer is no better, but some fewer are.
    kind.stride = kind.stride < team_size_ / 2 ? 2 * kind.stride : 1;
    kind.is_growing = !kind.is_growing;
    kind.pause = std::clamp<Clock::duration>(2 * kind.pause, kShortestPause, kLongestPause);
    kind.next_trial = now + std::max(kind.pause, kPauseOfTrial * took);
  }
  kind.num_tried = 0;
}

}  // namespace sluice::backend::cpu
