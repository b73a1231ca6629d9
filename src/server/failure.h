#pragma once

#include <exception>
#include <string>

#include "base/error.h"

namespace sluice::server {

// What went wrong on another thread: an Error in parts, as threads that share an exception share a
// text that the thread sanitizer cannot see through.
struct Failure {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;

  [[noreturn]] void raise() const { throw Error(code, message); }
};

// Of any exception; for that of a missing memory, and when there is none even for its text,
// kOutOfMemory.
Failure failure_of(const std::exception_ptr& exception) noexcept;
// With another text when there is no memory for its own.
Failure copy_of(const Failure& failure) noexcept;

}  // namespace sluice::server
