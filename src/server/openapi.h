#pragma once

#include <string_view>

namespace sluice::server {

// The description of the HTTP API for tools (OpenAPI 3.1): openapi.json, which is written by hand
// and checked against the routes by a test.
std::string_view openapi_json();

}  // namespace sluice::server
