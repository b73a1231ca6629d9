#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/http_message.h"

// Who may talk to the server: rules for the Host and Origin headers, against web pages that reach
// for a server on the visitor's own machine (DNS rebinding, cross-site requests).
namespace sluice::server {

// What a header says about who asks. Malformed is whatever RFC 3986 (a Host) and RFC 6454 (an
// Origin) do not know: what two programs would read in two ways must not be read at all.
enum class Standing { kTrusted, kForeign, kMalformed };

// Of a host with or without a port: trusted when it names this machine or its private network:
// empty, a loopback, private or unspecified address, localhost, the machine's own name, or a name
// ending in .localhost, .local or .internal.
Standing standing_of_host(std::string_view host);

// Of the page that asks: trusted are http(s) on localhost, 127.0.0.1, 0.0.0.0 or [::1] with any
// port, the schemes of desktop programs (app, file, tauri, vscode-webview, vscode-file), and those
// of `allowed`, where "*" means all and "http://host:*" any port.
Standing standing_of_origin(std::string_view origin, const std::vector<std::string>& allowed);

// True for an address that only this machine can reach ("127.0.0.1", "::1", "localhost").
bool is_loopback_address(std::string_view address);

struct AccessRules {
  bool checks_host = true;           // when only this machine can reach us
  std::vector<std::string> origins;  // allowed besides the usual ones
};
// What the transport asks before it reads a body: who asks, or 400 for a Host or Origin that is
// malformed or there twice, 403 for a foreign one, 204 for a browser's preflight.
std::variant<Caller, Reply> check_access(const AccessRules& rules, const HttpRequest& request);

// The headers that let the browser give our reply to the page at `origin`; with `is_preflight`
// also which methods and headers it may use.
Headers cors_headers(std::string_view origin, bool is_preflight);

}  // namespace sluice::server
