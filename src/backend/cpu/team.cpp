#include "backend/cpu/team.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "base/threads.h"

namespace sluice::backend::cpu {
namespace {

using Clock = std::chrono::steady_clock;

// Waits until `value` is no longer `old`: spins up to `spin`, then sleeps in the kernel.
void wait_for_change(const std::atomic<unsigned>& value, unsigned old, Clock::duration spin) {
  constexpr int kSpinsBetweenLooks = 32;  // at the clock
  const auto deadline = Clock::now() + spin;
  do {
    for (int i = 0; i < kSpinsBetweenLooks; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      __builtin_ia32_pause();
    }
  } while (Clock::now() < deadline);
  value.wait(old, std::memory_order_acquire);
}

// Phases are mostly shorter than this; who waits longer was let down by a crowded machine, and
// should give its core to the member it waits for.
constexpr auto kBarrierSpin = std::chrono::microseconds(200);
// With more members than cores, who spins keeps others from working.
constexpr auto kCrowdedSpin = std::chrono::microseconds(2);
// The next step of a running decode comes within this.
constexpr auto kIdleSpin = std::chrono::microseconds(50);

}  // namespace

Team::Team(int num_threads)
    : size_(std::max(1, num_threads)),
      barrier_spin_(size_ <= usable_cores() ? kBarrierSpin : kCrowdedSpin),
      taken_of_(static_cast<size_t>(size_)) {
  for (int member = 1; member < size_; ++member) {
    workers_.emplace_back([this, member] {
      set_thread_name("cpu-worker-" + std::to_string(member));
      serve(member);
    });
  }
}

Team::~Team() {
  is_stopping_ = true;
  work_generation_.value.fetch_add(1, std::memory_order_release);
  work_generation_.value.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Team::serve(int member) {
  for (unsigned seen = 0;; ++seen) {
    wait_for_change(work_generation_.value, seen, kIdleSpin);
    if (is_stopping_) return;
    (*work_)(member);
    barrier();
  }
}

void Team::run(const std::function<void(int member)>& work) {
  work_ = &work;
  work_generation_.value.fetch_add(1, std::memory_order_release);
  work_generation_.value.notify_all();
  work(0);
  barrier();
}

void Team::reset_chunks() {
  next_chunk_.value.store(0, std::memory_order_relaxed);
  for (Padded<int>& taken : taken_of_) taken.value.store(0, std::memory_order_relaxed);
}

void Team::barrier() {
  if (size_ == 1) {
    reset_chunks();
    return;
  }
  const unsigned generation = barrier_generation_.value.load(std::memory_order_relaxed);
  if (num_arrived_.value.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    // The last one: nobody takes chunks or arrives until the generation moves on.
    reset_chunks();
    num_arrived_.value.store(0, std::memory_order_relaxed);
    barrier_generation_.value.fetch_add(1, std::memory_order_release);
    barrier_generation_.value.notify_all();
    return;
  }
  wait_for_change(barrier_generation_.value, generation, barrier_spin_);
}

}  // namespace sluice::backend::cpu
