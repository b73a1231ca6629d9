#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "http/client.h"

namespace sluice::http {
namespace {

[[noreturn]] void fail(std::string_view text, const std::string& reason) {
  throw Error(ErrorCode::kInvalidArgument, "not a server address: \"" + std::string(text) + "\" (" +
                                               reason + "); write it like http://127.0.0.1:11434");
}

bool is_host_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '-' || c == '_';
}

bool is_address6(std::string_view text) {
  in6_addr ignored;
  return inet_pton(AF_INET6, std::string(text).c_str(), &ignored) == 1;
}

uint16_t parse_port(std::string_view digits, std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    fail(text, "the port must be a number from 1 to 65535");
  }
  return port;
}

// Cuts "http://" off; true when it was there.
bool take_scheme(std::string_view& rest, std::string_view text) {
  const size_t end = rest.find("://");
  if (end == std::string_view::npos) return false;
  std::string scheme(rest.substr(0, end));
  std::transform(scheme.begin(), scheme.end(), scheme.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (scheme != "http") fail(text, "only http:// is supported");
  rest.remove_prefix(end + 3);
  return true;
}

// Cuts "/prefix" off the end.
std::string take_prefix(std::string_view& rest, std::string_view text) {
  const size_t slash = rest.find('/');
  if (slash == std::string_view::npos) return "";
  std::string prefix(rest.substr(slash));
  rest = rest.substr(0, slash);
  for (char c : prefix) {
    if (c <= ' ' || c == 127 || c == '?' || c == '#') fail(text, "the path has a stray character");
  }
  while (!prefix.empty() && prefix.back() == '/') prefix.pop_back();
  return prefix;
}

// Cuts the host off the start: a name, an IPv4 address, [an IPv6 address], or one that is alone.
std::string take_host(std::string_view& rest, std::string_view text) {
  std::string host;
  if (is_address6(rest)) {
    host = rest;
    rest = {};
  } else if (rest.starts_with('[')) {
    const size_t end = rest.find(']');
    if (end == std::string_view::npos) fail(text, "the bracket is not closed");
    host = rest.substr(1, end - 1);
    rest.remove_prefix(end + 1);
    if (!is_address6(host)) fail(text, "brackets hold an IPv6 address");
  } else {
    const size_t end = std::min(rest.find(':'), rest.size());
    host = rest.substr(0, end);
    rest.remove_prefix(end);
    if (!std::all_of(host.begin(), host.end(), is_host_character)) {
      fail(text, "the host has a stray character");
    }
  }
  if (host.size() > 255) fail(text, "the host is too long");
  return host.empty() ? "127.0.0.1" : host;
}

Url parse(std::string_view text, uint16_t default_port) {
  std::string_view rest = text;
  if (rest.empty()) fail(text, "it is empty");
  const bool has_scheme = take_scheme(rest, text);
  if (has_scheme && rest.empty()) fail(text, "the host is missing");
  Url url;
  url.prefix = take_prefix(rest, text);
  url.host = take_host(rest, text);
  url.port = has_scheme ? uint16_t{80} : default_port;
  if (!rest.empty()) {
    if (rest.front() != ':') fail(text, "a port follows the host");
    url.port = parse_port(rest.substr(1), text);
  }
  return url;
}

}  // namespace

std::string Url::text() const {
  const bool is_address6 = host.find(':') != std::string::npos;
  const std::string name = is_address6 ? "[" + host + "]" : host;
  return "http://" + name + ":" + std::to_string(port) + prefix;
}

Url parse_url(std::string_view text, uint16_t default_port) {
  Url url = parse(text, default_port);
  if (url.host == "0.0.0.0") url.host = "127.0.0.1";
  if (url.host == "::") url.host = "::1";
  if (url.port == 0) fail(text, "port 0 is only for listening: name the server's own");
  return url;
}

Url parse_listen_address(std::string_view text, uint16_t default_port) {
  Url url = parse(text, default_port);
  url.prefix.clear();
  return url;
}

}  // namespace sluice::http
