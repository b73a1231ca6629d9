#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

namespace sluice {

// What kind of failure it was. The CLI turns it into an exit status, the server into an HTTP
// status.
enum class ErrorCode {
  kInvalidArgument,  // the caller's input is wrong: fix it and try again
  kNotFound,         // a model, file or route that is not there
  kAlreadyExists,    // a name, port or lock that is taken
  kUnsupported,      // valid input, but a feature, type or architecture we do not have
  kCorruptData,      // a file or message that breaks its format
  kContextOverflow,  // the prompt does not fit the context
  kBusy,             // queue full or draining: try later
  kNoSpace,          // disk full
  kOutOfMemory,      // what was needed and what was free is in the message
  kCancelled,
  kDeadlineExceeded,
  kSlowClient,  // what a client has to send did not come in time
  kIo,          // the system refused a read, write or connection
  kInternal,    // a bug of ours
};

// The one exception type of the project. The message is one line: what is wrong and what to do.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

// Throws Error(kInvalidArgument, message) unless it holds.
void require_argument(bool holds, const std::string& message);

// What an exception says, without throwing itself: "out of memory" when there is none for the text.
std::string message_of(const std::exception_ptr& exception) noexcept;

// The text of a system error number (errno), thread-safe: "No space left on device".
std::string system_error_text(int error_number);

// Error for a failed system call on `path`: kNotFound for ENOENT, kNoSpace for ENOSPC or EDQUOT,
// else kIo. `action` reads like "cannot open".
Error io_error(const std::string& action, const std::string& path, int error_number);

}  // namespace sluice
