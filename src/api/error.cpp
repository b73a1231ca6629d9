#include "api/error.h"

#include "api/json.h"

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
    case ErrorCode::kCorruptData:
    case ErrorCode::kOutOfMemory:
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      return 500;
  }
  return 500;
}

std::string encode_ollama_error(std::string_view message) {
  Json json;
  json["error"] = message;
  return dump_json(json);
}

std::string encode_openai_error(int status, std::string_view message) {
  Json error;
  error["message"] = message;
  error["type"] = status == 400   ? "invalid_request_error"
                  : status == 404 ? "not_found_error"
                                  : "api_error";
  error["param"] = nullptr;
  error["code"] = nullptr;
  Json json;
  json["error"] = std::move(error);
  return dump_json(json);
}

}  // namespace sluice::api
