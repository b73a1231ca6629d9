#pragma once

#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "store/partial_blob.h"

namespace sluice::registry {

// Hashes a file on a thread of its own while it comes in, so that little is left to do at its end.
class HashFollower {
 public:
  explicit HashFollower(store::PartialBlob& blob);
  ~HashFollower();  // ends early
  HashFollower(const HashFollower&) = delete;
  HashFollower& operator=(const HashFollower&) = delete;

  // True when all of the file is there and hashed; waits for it, `patience` at most. Throws Error
  // when the file cannot be read.
  bool wait(std::chrono::milliseconds patience);

 private:
  void work();

  store::PartialBlob& blob_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool is_stopping_ = false;
  bool is_done_ = false;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace sluice::registry
