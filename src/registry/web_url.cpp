#include "registry/web_url.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/print.h"

namespace sluice::registry {
namespace {

constexpr size_t kMaxUrlBytes = size_t{8} << 10;

struct UrlCloser {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using UrlHandle = std::unique_ptr<CURLU, UrlCloser>;

std::optional<std::string> part_of(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return std::nullopt;
  std::string result = text;
  curl_free(text);
  return result;
}

// Null for what is no address of ours; relative ones count from `base`.
std::optional<WebUrl> parse_url(const WebUrl* base, std::string_view text) {
  const auto is_plain = [](char c) { return c > ' ' && c < 0x7f; };
  if (text.size() > kMaxUrlBytes || !std::all_of(text.begin(), text.end(), is_plain)) return {};
  const UrlHandle url(curl_url());
  if (!url) throw std::bad_alloc();
  const unsigned flags = CURLU_DISALLOW_USER;
  if (base && curl_url_set(url.get(), CURLUPART_URL, base->text().c_str(), flags) != CURLUE_OK) {
    return {};
  }
  if (curl_url_set(url.get(), CURLUPART_URL, std::string(text).c_str(), flags) != CURLUE_OK) {
    return {};
  }
  const auto scheme = part_of(url.get(), CURLUPART_SCHEME);
  const auto host = part_of(url.get(), CURLUPART_HOST);
  const auto port = part_of(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
  if (!scheme || !host || host->empty() || !port) return {};
  WebUrl result{*scheme, *host, 0, part_of(url.get(), CURLUPART_PATH).value_or("/")};
  if (result.scheme != "http" && result.scheme != "https") return {};
  const auto lower = [](char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c); };
  std::transform(result.host.begin(), result.host.end(), result.host.begin(), lower);
  std::from_chars(port->data(), port->data() + port->size(), result.port);
  if (result.port == 0) return {};
  if (const auto query = part_of(url.get(), CURLUPART_QUERY)) result.target += "?" + *query;
  return result;
}

}  // namespace

WebUrl WebUrl::parse(std::string_view text) {
  if (auto url = parse_url(nullptr, text)) return *url;
  throw Error(ErrorCode::kInvalidArgument,
              "'" + printable(text.substr(0, 200)) + "' is no http:// or https:// address");
}

WebUrl WebUrl::resolve(std::string_view location) const {
  if (auto url = parse_url(this, location)) return *url;
  throw Error(ErrorCode::kCorruptData, host + " redirects to '" +
                                           printable(location.substr(0, 200)) +
                                           "', which is no http:// or https:// address");
}

std::string WebUrl::origin() const { return scheme + "://" + host + ":" + std::to_string(port); }

std::string WebUrl::text() const {
  const bool is_default = port == (is_secure() ? 443 : 80);
  return (is_default ? scheme + "://" + host : origin()) + target;
}

std::string percent_encode(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
    if (is_plain) {
      encoded += c;
      continue;
    }
    encoded += '%';
    encoded += kDigits[static_cast<unsigned char>(c) >> 4];
    encoded += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return encoded;
}

}  // namespace sluice::registry
