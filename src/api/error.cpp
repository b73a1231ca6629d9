#include "api/error.h"

namespace sluice::api {

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kUnsupported:
    case ErrorCode::kContextOverflow:
      return 400;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kAlreadyExists:
      return 409;
    case ErrorCode::kBusy:
      return 503;
    case ErrorCode::kNoSpace:
      return 507;
    case ErrorCode::kCancelled:
      return 499;
    case ErrorCode::kDeadlineExceeded:
      return 504;
    case ErrorCode::kSlowClient:
      return 408;
    case ErrorCode::kCorruptData:
    case ErrorCode::kOutOfMemory:
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      return 500;
  }
  return 500;
}

void fail(const std::string& what) { throw Error(ErrorCode::kInvalidArgument, what); }

void refuse(const std::string& what) { throw Error(ErrorCode::kUnsupported, what); }

}  // namespace sluice::api
