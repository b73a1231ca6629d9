#include "backend/cpu/team.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <climits>
#include <limits>
#include <string>

#include "base/threads.h"

namespace sluice::backend::cpu {
namespace {

using Clock = std::chrono::steady_clock;

// Phases of decoding take some 10 us, and the next step comes as soon: who waits longer was let
// down by a crowded machine, and should give its core to the member that it waits for.
constexpr auto kSpin = std::chrono::microseconds(50);
// With more members than cores, who spins keeps others from working.
constexpr auto kCrowdedSpin = std::chrono::microseconds(2);

// Number of pieces that ends the threads.
constexpr uint32_t kStop = std::numeric_limits<uint32_t>::max();

// The kernel looks at 32 bits: of the word, at the lower half, where the phase's number is.
static_assert(std::endian::native == std::endian::little);
template <class T>
void sleep_while(std::atomic<T>& value, T old) {
  ::syscall(SYS_futex, &value, FUTEX_WAIT_PRIVATE, static_cast<uint32_t>(old), nullptr);
}
template <class T>
void wake_all(std::atomic<T>& value) {
  ::syscall(SYS_futex, &value, FUTEX_WAKE_PRIVATE, INT_MAX);
}

uint32_t num_pieces(uint64_t word) { return static_cast<uint32_t>(word >> 32); }

}  // namespace

Team::Team(int num_threads)
    : size_(std::max(1, num_threads)),
      spin_(size_ <= usable_cores() ? kSpin : kCrowdedSpin),
      taken_of_(static_cast<size_t>(size_)) {
  workers_.reserve(static_cast<size_t>(size_));
  try {
    for (int member = 1; member < size_; ++member) {
      workers_.push_back(
          start_thread("cpu-worker-" + std::to_string(member), [this, member] { serve(member); }));
    }
  } catch (...) {
    stop();
    throw;
  }
}

Team::~Team() { stop(); }

void Team::stop() {
  set_num_members(size_);
  publish(kStop);
  for (std::thread& worker : workers_) worker.join();
}

std::chrono::nanoseconds Team::run(int num_members, std::span<const Phase> phases) {
  if (std::min(num_members, size_) <= 1) {
    for (const Phase& phase : phases) {
      Pieces pieces(phase.num_pieces);
      phase.call(phase.work, pieces);
    }
    return {};
  }
  slept_nanoseconds_.store(0, std::memory_order_relaxed);
  if (now_.num_members.load(std::memory_order_relaxed) != std::min(num_members, size_)) {
    // The shares of members that have not been wanted for long: their phases must not grow so old
    // that they seem to be of the future.
    const uint64_t none_taken = static_cast<uint32_t>(now_.word.load(std::memory_order_relaxed));
    for (auto& taken : taken_of_) taken.value.store(none_taken, std::memory_order_relaxed);
    set_num_members(std::min(num_members, size_));
  }
  now_.phases = phases;
  now_.next = 0;
  begin_next_phase();
  while (true) {
    const uint64_t word = now_.word.load(std::memory_order_acquire);
    if (num_pieces(word) == 0) break;
    if (!take_part(0, word)) wait_while(word);
  }
  return std::chrono::nanoseconds(slept_nanoseconds_.load(std::memory_order_relaxed));
}

void Team::set_num_members(int num_members) {
  if (now_.num_members.exchange(num_members, std::memory_order_acq_rel) != num_members) {
    wake_all(now_.num_members);
  }
}

void Team::serve(int member) {
  while (true) {
    const int num_members = now_.num_members.load(std::memory_order_acquire);
    if (member >= num_members) {
      sleep_while(now_.num_members, num_members);
      continue;
    }
    const uint64_t word = now_.word.load(std::memory_order_acquire);
    if (num_pieces(word) == kStop) return;
    if (num_pieces(word) == 0 || !take_part(member, word)) wait_while(word);
  }
}

// Does what is left of the phase `word`. Returns whether another phase is on.
bool Team::take_part(int member, uint64_t word) {
  const int num_members = now_.num_members.load(std::memory_order_acquire);
  // In the next run there may be another number of members.
  if (now_.word.load(std::memory_order_relaxed) != word) return true;
  if (member >= num_members) return false;
  Pieces pieces(*this, member, num_members, word);
  if (pieces.num_taken_ == 0) return false;
  now_.phase->call(now_.phase->work, pieces);
  const uint32_t num_done =
      pieces.num_taken_ + num_done_.value.fetch_add(pieces.num_taken_, std::memory_order_acq_rel);
  if (num_done < num_pieces(word)) return false;
  begin_next_phase();
  return true;
}

// Called by whoever has done the last piece of a phase: nobody else holds any.
void Team::begin_next_phase() {
  num_done_.value.store(0, std::memory_order_relaxed);
  while (now_.next < now_.phases.size()) {
    now_.phase = &now_.phases[now_.next++];
    if (now_.phase->num_pieces > 0) {
      return publish(static_cast<uint32_t>(now_.phase->num_pieces));
    }
  }
  publish(0);
}

void Team::publish(uint32_t num_pieces) {
  // Cleared while nobody can sleep on the next word yet, so that none of its sleepers is forgotten.
  std::atomic<bool>& has_sleepers = has_sleepers_.value;
  const bool had_sleepers = has_sleepers.load(std::memory_order_relaxed);
  if (had_sleepers) has_sleepers.store(false, std::memory_order_relaxed);
  const auto phase = static_cast<uint32_t>(now_.word.load(std::memory_order_relaxed)) + 1;
  now_.word.store(uint64_t{num_pieces} << 32 | phase, std::memory_order_seq_cst);
  if (had_sleepers || has_sleepers.load(std::memory_order_seq_cst)) wake_all(now_.word);
}

void Team::wait_while(uint64_t word) {
  constexpr int kSpinsBetweenLooks = 32;  // at the clock
  const auto start = Clock::now();
  do {
    for (int i = 0; i < kSpinsBetweenLooks; ++i) {
      if (now_.word.load(std::memory_order_acquire) != word) return;
      __builtin_ia32_pause();
    }
  } while (Clock::now() - start < spin_);
  while (now_.word.load(std::memory_order_acquire) == word) {
    // Whoever publishes the next word sees this; or has published it, and the kernel does not wait.
    has_sleepers_.value.store(true, std::memory_order_seq_cst);
    sleep_while(now_.word, word);
  }
  if (num_pieces(word) > 0) {
    slept_nanoseconds_.fetch_add((Clock::now() - start).count(), std::memory_order_relaxed);
  }
}

}  // namespace sluice::backend::cpu
