#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::registry {

// What a registry asks for with 401: WWW-Authenticate: Bearer realm="..",service="..",scope="..".
struct Challenge {
  std::string scheme;  // in lower case: "bearer", "basic"
  std::string realm;
  std::string service;
  std::vector<std::string> scopes;
};

// Of a header's value, which may be anything; what cannot be read stays empty. At most 16 scopes.
Challenge parse_challenge(std::string_view header);

// Of "{"token": ..}" or "{"access_token": ..}", the reply of a realm. Throws Error(kCorruptData)
// for what is no JSON object, has no token or one that cannot stand in a header.
std::string parse_token(std::string_view json_text);

// The first message of the registry's {"errors":[{"code","message"}]} or {"error":".."}; else the
// beginning of the text on one line; made printable.
std::string error_message(std::string_view body);

// "bytes 0-99/1000" of a Content-Range header. False when it is something else, or has no length.
struct ContentRange {
  unsigned long long first = 0, last = 0, total = 0;
};
bool parse_content_range(std::string_view header, ContentRange& range);

}  // namespace sluice::registry
