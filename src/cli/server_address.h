#pragma once

#include <cstdlib>
#include <string>

#include "http/client.h"

namespace sluice::cli {

// The server that a client command talks to: `given` when not empty, else SLUICE_HOST, else
// OLLAMA_HOST, else http://127.0.0.1:11434. Throws Error(kInvalidArgument) when it is no address.
inline http::Url server_address(const std::string& given) {
  if (!given.empty()) return http::parse_url(given);
  for (const char* name : {"SLUICE_HOST", "OLLAMA_HOST"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return http::parse_url(value);
  }
  return http::parse_url("127.0.0.1");
}

}  // namespace sluice::cli
