#include "server/failure.h"

#include <spdlog/spdlog.h>

#include <new>

namespace sluice::server {

Failure failure_of(const std::exception_ptr& exception) noexcept {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    try {
      return {error.code(), std::string(error.what())};
    } catch (...) {
    }
  } catch (const std::bad_alloc&) {
    try {
      return {ErrorCode::kOutOfMemory, "not enough memory for this request"};
    } catch (...) {
    }
  } catch (const std::exception& error) {
    try {
      spdlog::error("a request failed: {}", error.what());
      return {ErrorCode::kInternal, "internal error; the server's log has more"};
    } catch (...) {
    }
  } catch (...) {
  }
  return {ErrorCode::kOutOfMemory, "out of memory"};  // short enough to need none
}

}  // namespace sluice::server
