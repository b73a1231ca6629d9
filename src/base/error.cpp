#include "base/error.h"

#include <cerrno>
#include <new>
#include <system_error>

namespace sluice {

void require_argument(bool holds, const std::string& message) {
  if (!holds) throw Error(ErrorCode::kInvalidArgument, message);
}

std::string message_of(const std::exception_ptr& exception) noexcept {
  try {
    try {
      std::rethrow_exception(exception);
    } catch (const std::bad_alloc&) {
      return "out of memory";
    } catch (const std::exception& error) {
      return error.what();
    } catch (...) {
      return "unknown error";
    }
  } catch (...) {
    return "out of memory";  // so short that it lies in the string itself
  }
}

std::string system_error_text(int error_number) {
  return std::generic_category().message(error_number);
}

Error io_error(const std::string& action, const std::string& path, int error_number) {
  ErrorCode code = ErrorCode::kIo;
  if (error_number == ENOENT) code = ErrorCode::kNotFound;
  if (error_number == ENOSPC || error_number == EDQUOT) code = ErrorCode::kNoSpace;
  return Error(code, action + " " + path + ": " + system_error_text(error_number));
}

}  // namespace sluice
