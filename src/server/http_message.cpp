#include "server/http_message.h"

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/url/pct_string_view.hpp>
#include <charconv>
#include <ctime>
#include <nlohmann/json.hpp>

namespace sluice::server {
namespace {

namespace http = boost::beast::http;

// Nothing for what is not well encoded, or holds control characters.
std::optional<std::string> percent_decode(std::string_view text) {
  const auto encoded = boost::urls::make_pct_string_view({text.data(), text.size()});
  if (!encoded) return std::nullopt;
  std::string out = encoded->decode();
  const auto is_control = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  };
  if (std::any_of(out.begin(), out.end(), is_control)) return std::nullopt;
  return out;
}

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[40];
  const size_t size = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return std::string(text, size);
}

}  // namespace

const std::string* HttpRequest::header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return &value;
  }
  return nullptr;
}

std::optional<Target> parse_target(std::string_view target) {
  Target result;
  if (!target.starts_with('/')) {
    size_t host = 0;
    for (const std::string_view scheme : {"http://", "https://"}) {
      if (boost::beast::iequals(target.substr(0, scheme.size()), scheme)) host = scheme.size();
    }
    if (host == 0) return std::nullopt;
    target.remove_prefix(host);
    const size_t end = std::min(target.find_first_of("/?#"), target.size());
    result.authority = target.substr(0, end);
    target.remove_prefix(end);
  }
  const size_t question = target.find('?');
  auto path = percent_decode(target.substr(0, question));
  if (!path) return std::nullopt;
  result.path = path->empty() ? "/" : std::move(*path);
  if (question != std::string_view::npos) result.query = target.substr(question + 1);
  return result;
}

std::optional<std::string> query_parameter(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    const size_t equals = std::min(pair.find('='), pair.size());
    if (pair.substr(0, equals) == name) {
      const std::string_view text = pair.substr(std::min(equals + 1, pair.size()));
      // What cannot be decoded is not left out: who reads it says that it is wrong.
      return percent_decode(text).value_or(std::string(text));
    }
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return std::nullopt;
}

std::string format_head(const Reply& reply, Framing framing, bool keep_alive) {
  std::string out = "HTTP/1.1 " + std::to_string(reply.status) + " ";
  out += http::obsolete_reason(static_cast<http::status>(reply.status));
  out += "\r\nDate: " + http_date();
  if (!reply.content_type.empty()) out += "\r\nContent-Type: " + reply.content_type;
  const bool has_content = reply.status != 204 && reply.status != 304;
  if (framing == Framing::kWhole && has_content) {
    out += "\r\nContent-Length: " + std::to_string(reply.body.size());
  }
  if (framing == Framing::kChunked) out += "\r\nTransfer-Encoding: chunked";
  out += keep_alive ? "\r\nConnection: keep-alive" : "\r\nConnection: close";
  for (const auto& [name, value] : reply.headers) out += "\r\n" + name + ": " + value;
  out += "\r\n\r\n";
  return out;
}

void append_chunk(std::string& out, std::string_view data) {
  char size[20];
  const auto end = std::to_chars(size, size + sizeof size, data.size(), 16).ptr;
  out.append(size, end);
  out += "\r\n";
  out += data;
  out += "\r\n";
}

std::string error_body(std::string_view message) {
  const nlohmann::ordered_json body = {{"error", message}};
  return body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Reply json_reply(std::string body) {
  return Reply{200, "application/json; charset=utf-8", std::move(body), {}};
}

Reply error_reply(int status, std::string_view message) {
  return Reply{status, "application/json; charset=utf-8", error_body(message), {}};
}

}  // namespace sluice::server
