#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace sluice::api {

// HTTP status for a failure: 400 for wrong input, what is not supported and over-long prompts, 404,
// 408 slow client, 409, 499 cancelled, 503 busy, 504 deadline, 507 disk full, else 500.
int http_status(ErrorCode code);

// Throws Error(kInvalidArgument): what the client sent is wrong.
[[noreturn]] void fail(const std::string& what);
// Throws Error(kUnsupported): right, but not something that is done here.
[[noreturn]] void refuse(const std::string& what);

// The body of an error reply, a JSON object: ollama::error_body, openai::error_body.
using ErrorBody = std::string (*)(int status, std::string_view message,
                                  std::string_view request_id);

}  // namespace sluice::api
