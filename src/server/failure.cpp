#include "server/failure.h"

#include <spdlog/spdlog.h>

#include <new>

namespace sluice::server {
namespace {

constexpr const char* kShortText = "out of memory";  // short enough to need none

}  // namespace

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
  return {ErrorCode::kOutOfMemory, kShortText};
}

Failure copy_of(const Failure& failure) noexcept {
  try {
    return failure;
  } catch (...) {
    return {failure.code, kShortText};
  }
}

}  // namespace sluice::server
