#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace sluice::backend::cpu {

// A fixed team of threads that runs one function together: the caller is member 0, the others are
// threads named "cpu-worker-N" that live as long as the team. Inside the function members meet at
// barriers (a short spin, then sleep, so that a crowded machine does not crawl) and share work by
// taking chunks. Between functions the workers spin for some 50 us, then sleep without using CPU.
class Team {
 public:
  explicit Team(int num_threads);  // at least 1
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }

  // Runs work(member) on every member and returns when all are done. `work` must not throw, and
  // every member must call barrier() equally often.
  void run(const std::function<void(int member)>& work);

  // Waits until every member is here; what they wrote before is visible after. Resets the chunks.
  void barrier();

  // The next number not yet taken since the last barrier: 0, 1, 2, ... Members share out a phase's
  // work by it, so that a disturbed core does less.
  int take_chunk() { return next_chunk_.value.fetch_add(1, std::memory_order_relaxed); }

  // The same for `count` chunks that lie one behind the other in memory; -1 when all are taken. A
  // member walks through a share of its own, so that the processor's prefetchers see one stream,
  // and then helps the others. A phase uses one of the two kinds.
  int take_near(int member, int count) {
    for (int i = 0; i < size_; ++i) {
      const int owner = member + i < size_ ? member + i : member + i - size_;
      const int64_t first = int64_t{count} * owner / size_,
                    end = int64_t{count} * (owner + 1) / size_;
      auto& taken = taken_of_[static_cast<size_t>(owner)].value;
      if (taken.load(std::memory_order_relaxed) >= end - first) continue;
      const int mine = taken.fetch_add(1, std::memory_order_relaxed);
      if (mine < end - first) return static_cast<int>(first) + mine;
    }
    return -1;
  }

 private:
  // Each on a cache line pair of its own: members hammer them.
  template <class T>
  struct alignas(128) Padded {
    std::atomic<T> value{0};
  };

  void serve(int member);
  void reset_chunks();

  const int size_;
  const std::chrono::nanoseconds barrier_spin_;
  Padded<int> next_chunk_;
  std::vector<Padded<int>> taken_of_;  // by member: chunks taken of its share
  Padded<int> num_arrived_;
  Padded<unsigned> barrier_generation_;
  Padded<unsigned> work_generation_;
  const std::function<void(int)>* work_ = nullptr;  // written before work_generation_ moves on
  bool is_stopping_ = false;                        // likewise
  std::vector<std::thread> workers_;
};

}  // namespace sluice::backend::cpu
