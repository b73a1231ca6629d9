#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace sluice::api {

// HTTP status for a failure: 400 for wrong input, what is not supported and over-long prompts, 404,
// 409, 499 cancelled, 503 busy, 504 deadline, 507 disk full, else 500.
int http_status(ErrorCode code);

// {"error":"message"}: a body, or without change one NDJSON line of a stream that has begun.
std::string encode_ollama_error(std::string_view message);

// {"error":{"message":..,"type":..,"param":null,"code":null}}; the type follows from the status.
std::string encode_openai_error(int status, std::string_view message);

}  // namespace sluice::api
