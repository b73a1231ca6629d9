#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::keys {
class Visit;
}

// A request and a reply as plain data, and small pure pieces of HTTP/1.1 used by the transport.
namespace sluice::server {

using Headers = std::vector<std::pair<std::string, std::string>>;

// Who asks, as the gate has found.
struct Caller {
  std::string name;                    // of the API key; "": whoever reaches us
  std::shared_ptr<keys::Visit> visit;  // for as long as the request is under way; may be null
};

struct HttpRequest {
  std::string method;
  std::string path;                      // percent-decoded, without the query; starts with a slash
  std::string query;                     // as sent
  std::optional<std::string> authority;  // of a target in absolute form: "http://HOST:PORT/path"
  Headers headers;                       // names in lower case
  std::string body;
  bool is_http10 = false;
  bool keep_alive = true;                         // the client's wish
  std::chrono::steady_clock::time_point arrival;  // when all of it was there
  std::string id;                                 // X-Request-Id: the client's own, or one of ours
  std::string address;                            // the client's
  Caller client;

  const std::string* header(std::string_view lower_case_name) const;  // null when absent
};

struct Reply {
  int status = 200;
  std::string content_type;
  std::string body;
  Headers headers;
};
Reply json_reply(std::string body);

// Path and query of a request target in origin form ("/a?b") or absolute form ("http://h/a?b",
// whose host is `authority`, unchecked). Nothing for any other form, a broken percent-escape, or an
// escape that hides a control character.
struct Target {
  std::optional<std::string> authority;
  std::string path;
  std::string query;
};
std::optional<Target> parse_target(std::string_view target);

// A parameter of a query, decoded: "days" of "days=7&x"; as it is, where it cannot be. Nothing when
// it is not there.
std::optional<std::string> query_parameter(std::string_view query, std::string_view name);

// Where the body of a reply ends: kWhole is the one that `reply` holds, whose length the head
// tells.
enum class Framing { kWhole, kChunked, kUntilClose };
// The head of a reply, with the empty line behind it. A reply without content (204, 304) has no
// length.
std::string format_head(const Reply& reply, Framing framing, bool keep_alive);

// One chunk of a chunked body; `data` must not be empty.
void append_chunk(std::string& out, std::string_view data);

// The body of an error in Ollama's form: {"error":"text"}.
std::string error_body(std::string_view message);
Reply error_reply(int status, std::string_view message);

}  // namespace sluice::server
