#pragma once

#include <atomic>
#include <exception>
#include <utility>

namespace sluice::backend::cpu {

// The first failure of several members of the team, whose phases must not throw.
class FirstFailure {
 public:
  // In a catch block, by any member.
  void take_current() {
    if (!is_there_.exchange(true)) exception_ = std::current_exception();
  }
  bool is_there() const { return is_there_.load(std::memory_order_relaxed); }

  // When the phase is over: throws it, once.
  void rethrow() {
    if (!is_there_.exchange(false)) return;
    std::rethrow_exception(std::exchange(exception_, nullptr));
  }

 private:
  std::atomic<bool> is_there_ = false;
  std::exception_ptr exception_;
};

}  // namespace sluice::backend::cpu
