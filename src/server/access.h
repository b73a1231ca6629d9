#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/http_message.h"

// Who may talk to the server: rules for the Host and Origin headers, against web pages that reach
// for a server on the visitor's own machine (DNS rebinding, cross-site requests).
namespace sluice::server {

// True when `host` (with or without a port) names this machine or its private network: empty, a
// loopback, private or unspecified address, localhost, the machine's own name, or a name ending in
// .localhost, .local or .internal.
bool is_local_host(std::string_view host);

// True when pages of `origin` may call us: http(s) on localhost, 127.0.0.1, 0.0.0.0 or [::1] with
// any port, the schemes of desktop programs (app, file, tauri, vscode-webview, vscode-file), or one
// of `allowed`, where "*" means all and "http://host:*" any port.
bool is_allowed_origin(std::string_view origin, const std::vector<std::string>& allowed);

// True for an address that only this machine can reach ("127.0.0.1", "::1", "localhost").
bool is_loopback_address(std::string_view address);

// The headers that let the browser give our reply to the page at `origin`; with `is_preflight`
// also which methods and headers it may use.
Headers cors_headers(std::string_view origin, bool is_preflight);

}  // namespace sluice::server
