#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>

#include "base/error.h"
#include "http/client.h"

namespace sluice::http {
namespace {

namespace urls = boost::urls;

[[noreturn]] void fail(std::string_view text, const std::string& reason) {
  throw Error(ErrorCode::kInvalidArgument, "not a server address: \"" + std::string(text) + "\" (" +
                                               reason + "); write it like http://127.0.0.1:11434");
}

// With what may be left out: the scheme, and the brackets of an IPv6 address that is alone.
std::string completed(std::string_view text) {
  const size_t colon = text.find("://");
  const size_t start = colon == std::string_view::npos ? 0 : colon + 3;
  const std::string scheme = start == 0 ? "http://" : std::string(text.substr(0, start));
  const std::string rest(text.substr(start));
  const std::string host = rest.substr(0, rest.find('/'));
  if (urls::parse_ipv6_address(host)) {
    return scheme + "[" + host + "]" + rest.substr(host.size());
  }
  // The library takes a name that begins as an IPv4 address for a broken one, but not with a letter
  // in front, which parse() takes off again.
  return scheme + (rest.starts_with('[') ? rest : "x" + rest);
}

Url parse(std::string_view text, uint16_t default_port) {
  if (text.empty()) fail(text, "it is empty");
  const std::string whole = completed(text);
  const auto parsed = urls::parse_uri(whole);
  if (!parsed) fail(text, "it is malformed");
  const bool is_secure = parsed->scheme_id() == urls::scheme::https;
  if (parsed->scheme_id() != urls::scheme::http && !is_secure) {
    fail(text, "only http:// and https:// are supported");
  }
  if (parsed->has_userinfo() || parsed->has_query() || parsed->has_fragment()) {
    fail(text, "there may be a host, a port and a path, no more");
  }
  const bool has_scheme = text.find("://") != std::string_view::npos;
  Url url;
  url.is_secure = is_secure;
  const auto host = parsed->encoded_host_address();
  url.host.assign(host.data(), host.size());
  if (parsed->host_type() == urls::host_type::name) {
    url.host.erase(0, 1);
    if (url.host.find('%') != std::string::npos) fail(text, "the host has a stray character");
    if (url.host.empty() && has_scheme && !parsed->has_port()) fail(text, "the host is missing");
    if (url.host.empty()) url.host = "127.0.0.1";
  } else if (parsed->host_type() != urls::host_type::ipv6) {
    fail(text, "brackets hold an IPv6 address");
  }
  url.port = is_secure ? uint16_t{443} : has_scheme ? uint16_t{80} : default_port;
  if (parsed->has_port()) {
    url.port = parsed->port_number();  // 0 of what is no port
    if (url.port == 0 && parsed->port() != "0") {
      fail(text, "the port must be a number from 1 to 65535");
    }
  }
  const auto path = parsed->encoded_path();
  url.prefix.assign(path.data(), path.size());
  const bool is_path = url.prefix.empty() || url.prefix.starts_with('/');
  if (!is_path) fail(text, "it is malformed");  // the library takes any text behind a port
  while (url.prefix.ends_with('/')) url.prefix.pop_back();
  return url;
}

}  // namespace

std::string Url::authority() const {
  const bool is_address6 = host.find(':') != std::string::npos;
  const std::string name = is_address6 ? "[" + host + "]" : host;
  return name + ":" + std::to_string(port);
}

std::string Url::text() const {
  return (is_secure ? "https://" : "http://") + authority() + prefix;
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
