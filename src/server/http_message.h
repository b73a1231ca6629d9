#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "server/http_server.h"

// Small pure pieces of HTTP/1.1 used by the transport.
namespace sluice::server {

// Path and query of a request target in origin form ("/a?b") or absolute form ("http://h/a?b").
// Nothing for any other form, a broken percent-escape, or an escape that hides a control character.
struct Target {
  std::string path;
  std::string query;
};
std::optional<Target> parse_target(std::string_view target);

std::string_view reason_phrase(int status);

// The head of a reply, with the empty line behind it. `content_length` nothing: the body is framed
// as `Transfer-Encoding: chunked` when `is_chunked`, else by closing the connection.
struct ReplyHead {
  int status = 200;
  std::string_view content_type;
  std::optional<size_t> content_length;
  bool is_chunked = false;
  bool keep_alive = true;
  const Headers* headers = nullptr;
};
std::string format_head(const ReplyHead& head);

// One chunk of a chunked body; `data` must not be empty.
void append_chunk(std::string& out, std::string_view data);

// The body of an error in Ollama's form: {"error":"text"}.
std::string error_body(std::string_view message);
Reply error_reply(int status, std::string_view message);

}  // namespace sluice::server
