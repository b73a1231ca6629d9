#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "engine/request.h"

// What an engine remembers of its latest steps and requests.
namespace sluice::engine {

// One step of the engine.
struct StepRecord {
  Clock::time_point begin;
  int num_sequences = 0;    // that had a part in it
  int num_decode_rows = 0;  // next tokens of replies
  int num_draft_rows = 0;   // guesses behind them
  int num_prefill_rows = 0;
  int num_waiting = 0;  // requests in the queue
  int num_blocks_used = 0;
  std::chrono::nanoseconds forward_time{};   // in the backend
  std::chrono::nanoseconds schedule_time{};  // of the engine's thread beside it
};

// The latest records, numbered from 0 on. One thread adds, any thread reads.
template <typename Record, size_t kCapacity>
class RecordLog {
 public:
  // Never allocates.
  void add(const Record& record) {
    std::lock_guard lock(mutex_);
    records_[next_++ % kCapacity] = record;
  }

  // Those from number `first` on that are still there, and the number to ask for next.
  struct Page {
    std::vector<Record> records;
    uint64_t next = 0;
  };
  Page since(uint64_t first) const {
    Page page;
    page.records.reserve(kCapacity);
    std::lock_guard lock(mutex_);
    const uint64_t oldest = next_ > kCapacity ? next_ - kCapacity : 0;
    for (uint64_t i = std::max(first, oldest); i < next_; ++i) {
      page.records.push_back(records_[i % kCapacity]);
    }
    page.next = next_;
    return page;
  }

 private:
  mutable std::mutex mutex_;
  std::array<Record, kCapacity> records_;
  uint64_t next_ = 0;
};

using StepLog = RecordLog<StepRecord, 1024>;
using RequestLog = RecordLog<RequestRecord, 256>;

}  // namespace sluice::engine
