#pragma once

#include <array>
#include <chrono>

namespace sluice::backend::cpu {

// How many members of a team work on a step. All of them, unless some wait for others a good part
// of the time, as beside other busy processes: then as many as are fastest, found by trying fewer,
// and more again now and then. A trial takes some tenths of a second, as a system takes its time to
// give cores to other members, and ends at once where it costs much. Steps are compared with steps
// of their own kind, those of about as many tokens. Knows no clock of its own; used by one thread.
class Staffing {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Staffing(int team_size) : team_size_(team_size) {
    kinds_.fill({.num_members = team_size});
  }

  // For a step of so many tokens, at least 1.
  int num_members(int num_tokens) const {
    const Kind& kind = kinds_[kind_of(num_tokens)];
    return kind.num_tried > 0 ? kind.num_tried : kind.num_members;
  }
  // After that step: how long it took, how long its members waited in all, and the time now.
  void record(int num_tokens, Clock::duration took, Clock::duration waited, Clock::time_point now);

 private:
  // Of a kind of step. Costs are seconds a unit of work.
  struct Kind {
    int num_members;  // what is best as far as is known
    int stride = 1;   // from the number to the next one that is tried
    bool is_growing = false;
    double cost = 0;          // with num_members, of late
    Clock::duration known{};  // what the cost was learned from
    bool is_crowded = false;
    Clock::duration quiet{};  // since members waited much
    Clock::time_point next_trial{};
    Clock::duration pause{};  // before the next trial; longer each time when trials fail
    // This trial.
    int num_tried = 0;  // instead of num_members; 0: there is no trial
    Clock::duration tried{}, counted{};
    double tried_cost = 0;
    // This window.
    double work = 0;
    Clock::duration took{}, waited{};
  };
  struct Window {
    double cost;
    Clock::duration took;
    bool is_crowded;
  };

  static size_t kind_of(int num_tokens);
  void learn(Kind& kind, const Window& window, Clock::time_point now) const;
  void begin_trial(Kind& kind) const;
  void go_on_with_trial(Kind& kind, const Window& window, Clock::time_point now) const;
  void end_trial(Kind& kind, double ratio, Clock::time_point now) const;

  const int team_size_;
  std::array<Kind, 16> kinds_;
};

}  // namespace sluice::backend::cpu
