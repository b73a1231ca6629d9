#include "registry/hash_follower.h"

#include <chrono>

#include "base/threads.h"

namespace sluice::registry {
namespace {

constexpr uint64_t kStepBytes = uint64_t{8} << 20;
constexpr std::chrono::milliseconds kNap{10};

}  // namespace

HashFollower::HashFollower(store::PartialBlob& blob)
    : blob_(blob), thread_(start_thread("hash", [this] { work(); })) {}

HashFollower::~HashFollower() {
  {
    std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void HashFollower::work() {
  std::exception_ptr failure;
  try {
    while (blob_.hashed_bytes() < blob_.size_bytes()) {
      const bool is_idle = blob_.hash_available(kStepBytes) == 0;
      std::unique_lock lock(mutex_);
      if (is_idle) changed_.wait_for(lock, kNap, [this] { return is_stopping_; });
      if (is_stopping_) return;
    }
  } catch (...) {
    failure = std::current_exception();
  }
  {
    std::lock_guard lock(mutex_);
    failure_ = failure;
    is_done_ = true;
  }
  changed_.notify_all();
}

bool HashFollower::wait(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, patience, [this] { return is_done_; });
  if (failure_) std::rethrow_exception(failure_);
  return is_done_;
}

}  // namespace sluice::registry
