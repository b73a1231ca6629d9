#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::registry {

// An absolute http or https address, checked and normalized by libcurl's own parser, so that what
// is looked at here is what is connected to.
struct WebUrl {
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case; IPv6 addresses in brackets
  uint16_t port = 0;
  std::string target;  // path and query: "/v2/?a=b"

  // Throws Error(kInvalidArgument) for another scheme, a name or password in it, what is no URL.
  static WebUrl parse(std::string_view text);
  // What a Location header means that came from this address. Throws Error(kCorruptData).
  WebUrl resolve(std::string_view location) const;

  std::string origin() const;  // "https://host:port": whoever owns that may see our credentials
  std::string text() const;    // the port is left out where it is the scheme's own
  bool is_secure() const { return scheme == "https"; }
  bool has_same_origin(const WebUrl& other) const { return origin() == other.origin(); }
};

// Escapes everything but letters, digits and "-._~".
std::string percent_encode(std::string_view text);

}  // namespace sluice::registry
