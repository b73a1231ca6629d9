#include "base/work.h"

#include <algorithm>

#include "base/error.h"
#include "base/units.h"

namespace sluice {

void Work::check() {
  if (used_bytes_ > max_bytes_) {
    throw Error(ErrorCode::kInvalidArgument,
                "the request takes too much work before the model can begin (more than " +
                    format_bytes(max_bytes_) +
                    " read and written); send less, or use a simpler chat template");
  }
  if (stop_.stop_requested()) throw Error(ErrorCode::kCancelled, "the request was cancelled");
  if (deadline_ && std::chrono::steady_clock::now() >= *deadline_) {
    throw Error(ErrorCode::kDeadlineExceeded,
                "the request's time was over while it was being prepared");
  }
  // Not beyond the limit: what would be one byte too many is looked at when it comes.
  const uint64_t soon =
      kUnlimited - used_bytes_ > kLookEveryBytes ? used_bytes_ + kLookEveryBytes : kUnlimited;
  const uint64_t too_many = max_bytes_ == kUnlimited ? kUnlimited : max_bytes_ + 1;
  next_look_bytes_ = std::min(soon, too_many);
}

}  // namespace sluice
