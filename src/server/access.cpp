#include "server/access.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>

namespace sluice::server {
namespace {

std::string to_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return out;
}

// "host", "host:port", "[v6]", "[v6]:port" or a bare v6 address, without the port and brackets.
std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) {
    const size_t end = host.find(']');
    return end == std::string_view::npos ? host : host.substr(1, end - 1);
  }
  const size_t colon = host.find(':');
  if (colon == std::string_view::npos || host.find(':', colon + 1) != std::string_view::npos) {
    return host;
  }
  return host.substr(0, colon);
}

bool is_local_ipv4(const in_addr& address) {
  const uint32_t ip = ntohl(address.s_addr);
  return ip == 0 || (ip >> 24) == 127 || (ip >> 24) == 10 || (ip >> 20) == 0xAC1 ||
         (ip >> 16) == 0xC0A8 || (ip >> 16) == 0xA9FE;
}

bool is_local_ipv6(const in6_addr& address) {
  if (IN6_IS_ADDR_V4MAPPED(&address)) {
    in_addr v4{};
    std::copy_n(address.s6_addr + 12, 4, reinterpret_cast<uint8_t*>(&v4.s_addr));
    return is_local_ipv4(v4);
  }
  return IN6_IS_ADDR_LOOPBACK(&address) || IN6_IS_ADDR_UNSPECIFIED(&address) ||
         IN6_IS_ADDR_LINKLOCAL(&address) || (address.s6_addr[0] & 0xfe) == 0xfc;
}

// Whether an IP address is local; nothing when the text is no address.
std::optional<bool> is_local_ip(const std::string& text) {
  in_addr v4{};
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return is_local_ipv4(v4);
  in6_addr v6{};
  if (inet_pton(AF_INET6, text.c_str(), &v6) == 1) return is_local_ipv6(v6);
  return std::nullopt;
}

std::string machine_name() {
  char name[256] = {};
  if (gethostname(name, sizeof name - 1) != 0) return "";
  return to_lower(name);
}

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

bool is_local_host(std::string_view host) {
  const std::string name = to_lower(without_port(host));
  if (name.empty() || name == "localhost") return true;
  if (const auto is_local = is_local_ip(name)) return *is_local;
  static const std::string kOwnName = machine_name();
  if (name == kOwnName) return true;
  return name.ends_with(".localhost") || name.ends_with(".local") || name.ends_with(".internal");
}

bool is_allowed_origin(std::string_view origin, const std::vector<std::string>& allowed) {
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
  const auto is_match = [&](std::string_view pattern) { return matches(lower, to_lower(pattern)); };
  return std::any_of(kAlways.begin(), kAlways.end(), is_match) ||
         std::any_of(allowed.begin(), allowed.end(), is_match);
}

bool is_loopback_address(std::string_view address) {
  const std::string text = to_lower(without_port(address));
  if (text == "localhost") return true;
  in_addr v4{};
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, text.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

Headers cors_headers(std::string_view origin, bool is_preflight) {
  Headers headers = {{"Access-Control-Allow-Origin", std::string(origin)}, {"Vary", "Origin"}};
  if (!is_preflight) {
    headers.emplace_back("Access-Control-Expose-Headers",
                         "X-Queue-Position,X-Estimated-Wait,X-Dropped-Tokens,Retry-After");
  }
  if (is_preflight) {
    headers.emplace_back("Access-Control-Allow-Methods", "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS");
    headers.emplace_back(
        "Access-Control-Allow-Headers",
        "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,OpenAI-Beta,"
        "x-stainless-lang,x-stainless-package-version,x-stainless-os,x-stainless-arch,"
        "x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,"
        "x-stainless-async,x-stainless-helper-method,x-stainless-poll-helper,"
        "x-stainless-custom-poll-interval,x-stainless-timeout,X-Queue-Events,X-Request-Timeout");
    headers.emplace_back("Access-Control-Max-Age", "43200");
  }
  return headers;
}

}  // namespace sluice::server
