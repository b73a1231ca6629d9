#include "server/access.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/url/authority_view.hpp>

#include "server/routes.h"

namespace sluice::server {
namespace {

namespace urls = boost::urls;

std::string to_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return out;
}

// A host and perhaps a port, as headers have it: no user, no escapes, a port below 65,536.
std::optional<urls::authority_view> parse_authority(std::string_view text) {
  const auto parsed = urls::parse_authority({text.data(), text.size()});
  if (!parsed || parsed->has_userinfo()) return std::nullopt;
  const auto host = parsed->encoded_host();
  if (std::find(host.begin(), host.end(), '%') != host.end()) return std::nullopt;
  const auto port = parsed->port();
  const bool is_zero = std::all_of(port.begin(), port.end(), [](char c) { return c == '0'; });
  if (parsed->port_number() == 0 && !is_zero) return std::nullopt;  // it is too large
  return *parsed;
}

// A name whose beginning looks like an IPv4 address, "127.0.0.1.example.com": the library takes it
// for a broken address, but not with a letter in front.
bool is_name_like_address(std::string_view text) {
  return !text.empty() && text.front() >= '0' && text.front() <= '9' &&
         parse_authority("x" + std::string(text));
}

bool is_local_ipv4(const urls::ipv4_address& address) {
  const uint32_t ip = address.to_uint();
  return ip == 0 || (ip >> 24) == 127 || (ip >> 24) == 10 || (ip >> 20) == 0xAC1 ||
         (ip >> 16) == 0xC0A8 || (ip >> 16) == 0xA9FE;
}

bool is_local_ipv6(const urls::ipv6_address& address) {
  const auto bytes = address.to_bytes();
  if (address.is_v4_mapped()) {
    urls::ipv4_address::bytes_type v4;
    std::copy_n(bytes.begin() + 12, 4, v4.begin());
    return is_local_ipv4(urls::ipv4_address(v4));
  }
  const bool is_link_local = bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
  return address.is_loopback() || address.is_unspecified() || is_link_local ||
         (bytes[0] & 0xfe) == 0xfc;
}

std::string machine_name() {
  char name[256] = {};
  if (gethostname(name, sizeof name - 1) != 0) return "";
  return to_lower(name);
}

bool is_local_name(const std::string& name) {
  static const std::string kOwnName = machine_name();
  return name.empty() || name == "localhost" || name == kOwnName || name.ends_with(".localhost") ||
         name.ends_with(".local") || name.ends_with(".internal");
}

bool is_scheme(std::string_view text) {
  const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto may_follow = [&](char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
  };
  return !text.empty() && is_letter(text.front()) &&
         std::all_of(text.begin(), text.end(), may_follow);
}

// A page that this very server gave out: its origin is the host that it was asked by, by a name or
// address that no stranger can point at us.
bool is_own_origin(std::string_view origin, const HttpRequest& request) {
  const std::string* host = request.header("host");
  if (!host || host->empty()) return false;
  const std::string lower = to_lower(*host);
  const auto authority = parse_authority(lower);
  if (!authority) return false;
  const bool is_name = authority->host_type() == urls::host_type::name;
  if (is_name && !is_local_name(authority->host())) return false;
  return to_lower(origin) == "http://" + lower || to_lower(origin) == "https://" + lower;
}

// Whether `origin`, which is well-formed and in lower case, is meant by `allowed`.
bool matches(std::string_view origin, std::string_view allowed) {
  if (allowed == "*") return true;
  if (allowed.ends_with(":*")) {
    const std::string_view stem = allowed.substr(0, allowed.size() - 2);
    return origin == stem || (origin.starts_with(stem) && origin.substr(stem.size(), 1) == ":");
  }
  if (allowed.ends_with("*")) return origin.starts_with(allowed.substr(0, allowed.size() - 1));
  return origin == allowed;
}

}  // namespace

Standing standing_of_host(std::string_view host) {
  const auto authority = parse_authority(host);
  if (!authority) {
    return is_name_like_address(host) ? Standing::kForeign : Standing::kMalformed;
  }
  bool is_local = false;
  switch (authority->host_type()) {
    case urls::host_type::none:
      is_local = true;
      break;
    case urls::host_type::name:
      is_local = is_local_name(to_lower(authority->host()));
      break;
    case urls::host_type::ipv4:
      is_local = is_local_ipv4(authority->host_ipv4_address());
      break;
    case urls::host_type::ipv6:
      is_local = is_local_ipv6(authority->host_ipv6_address());
      break;
    case urls::host_type::ipvfuture:
      break;
  }
  return is_local ? Standing::kTrusted : Standing::kForeign;
}

Standing standing_of_origin(std::string_view origin, const std::vector<std::string>& allowed) {
  static constexpr std::array<std::string_view, 13> kAlways = {"http://localhost:*",
                                                               "https://localhost:*",
                                                               "http://127.0.0.1:*",
                                                               "https://127.0.0.1:*",
                                                               "http://0.0.0.0:*",
                                                               "https://0.0.0.0:*",
                                                               "http://[::1]:*",
                                                               "https://[::1]:*",
                                                               "app://*",
                                                               "file://*",
                                                               "tauri://*",
                                                               "vscode-webview://*",
                                                               "vscode-file://*"};
  const std::string lower = to_lower(origin);
  if (lower != "null") {  // of a page that does not say where it comes from
    const size_t colon = lower.find("://");
    if (colon == std::string::npos || !is_scheme(std::string_view(lower).substr(0, colon))) {
      return Standing::kMalformed;
    }
    const std::string_view host = std::string_view(lower).substr(colon + 3);
    if (!parse_authority(host) && !is_name_like_address(host)) return Standing::kMalformed;
  }
  const auto is_match = [&](std::string_view pattern) { return matches(lower, to_lower(pattern)); };
  const bool is_allowed = std::any_of(kAlways.begin(), kAlways.end(), is_match) ||
                          std::any_of(allowed.begin(), allowed.end(), is_match);
  return is_allowed ? Standing::kTrusted : Standing::kForeign;
}

bool is_loopback_address(std::string_view address) {
  if (to_lower(address) == "localhost") return true;
  const auto v4 = urls::parse_ipv4_address({address.data(), address.size()});
  if (v4) return v4->is_loopback();
  const auto v6 = urls::parse_ipv6_address({address.data(), address.size()});
  return v6 && v6->is_loopback();
}

std::variant<Caller, Reply> check_access(const AccessRules& rules, const HttpRequest& request) {
  int num_hosts = 0, num_origins = 0;
  // The target's own host counts beside the header's: both are believed by somebody.
  Standing standing = request.authority ? standing_of_host(*request.authority) : Standing::kTrusted;
  for (const auto& [name, value] : request.headers) {
    if (name == "origin") ++num_origins;
    if (name != "host") continue;
    ++num_hosts;
    standing = std::max(standing, standing_of_host(value));
  }
  if (num_hosts > 1) return refusal(request, 400, "more than one Host header");
  if (num_hosts == 0 && !request.is_http10) {
    return refusal(request, 400, "the Host header is missing");
  }
  if (num_origins > 1) return refusal(request, 400, "more than one Origin header");
  if (standing == Standing::kMalformed) return refusal(request, 400, "malformed Host");
  if (standing == Standing::kForeign && rules.checks_host) {
    return refusal(request, 403, "the Host header names another machine");
  }
  const std::string* origin = request.header("origin");
  if (!origin) return Caller{};
  switch (is_own_origin(*origin, request) ? Standing::kTrusted
                                          : standing_of_origin(*origin, rules.origins)) {
    case Standing::kMalformed:
      return refusal(request, 400, "malformed Origin");
    case Standing::kForeign:
      return refusal(request, 403, "the Origin header names a page that is not allowed");
    case Standing::kTrusted:
      break;
  }
  if (request.method == "OPTIONS") return Reply{204, "", "", cors_headers(*origin, true)};
  return Caller{};
}

Headers cors_headers(std::string_view origin, bool is_preflight) {
  Headers headers = {{"Access-Control-Allow-Origin", std::string(origin)}, {"Vary", "Origin"}};
  if (!is_preflight) {
    headers.emplace_back("Access-Control-Expose-Headers",
                         "X-Request-Id,X-Queue-Position,X-Estimated-Wait,X-Dropped-Tokens,"
                         "Retry-After");
  }
  if (is_preflight) {
    headers.emplace_back("Access-Control-Allow-Methods", "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS");
    headers.emplace_back(
        "Access-Control-Allow-Headers",
        "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,OpenAI-Beta,"
        "x-stainless-lang,x-stainless-package-version,x-stainless-os,x-stainless-arch,"
        "x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,"
        "x-stainless-async,x-stainless-helper-method,x-stainless-poll-helper,"
        "x-stainless-custom-poll-interval,x-stainless-timeout,X-Queue-Events,X-Request-Timeout,"
        "X-Request-Id,"
        "OpenAI-Organization,OpenAI-Project,X-Title,HTTP-Referer,x-api-key,anthropic-version,"
        "anthropic-beta,anthropic-dangerous-direct-browser-access");
    headers.emplace_back("Access-Control-Max-Age", "43200");
  }
  return headers;
}

}  // namespace sluice::server
