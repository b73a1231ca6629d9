#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "registry/options.h"
#include "registry/web_url.h"

namespace sluice::registry {

using WebHeaders = std::vector<std::pair<std::string, std::string>>;  // names in lower case

// Of a reply, its body aside.
struct WebHead {
  int status = 0;
  WebHeaders headers;

  std::string header(std::string_view lower_case_name) const {  // "" when absent
    for (const auto& [name, value] : headers) {
      if (name == lower_case_name) return value;
    }
    return "";
  }
  bool is_redirect() const {
    return status == 301 || status == 302 || status == 307 || status == 308;
  }
  bool is_success() const { return status / 100 == 2; }
};

struct WebRequest {
  std::string method = "GET";
  WebUrl url;
  WebHeaders headers = {};
  std::string body = {};
  // Instead of `body`: gives the next bytes of a long one; 0 when there are no more.
  std::function<size_t(std::span<std::byte>)> read_body = {};
  uint64_t body_bytes = 0;  // of read_body
};

struct WebReply {
  WebHead head;
  std::string body;
};

// One request whose reply is taken piece by piece. What the functions throw ends it.
struct WebTransfer {
  WebRequest request;
  bool is_unverified = false;                               // TLS without a look at the certificate
  std::chrono::milliseconds time_limit{0};                  // for the whole; 0: none
  std::function<void(const WebHead&)> on_head;              // may be empty
  std::function<void(std::span<const std::byte>)> on_body;  // of replies of every status
};

// How a transfer ended.
struct WebResult {
  enum class Kind {
    kDone,        // the whole reply came
    kBroken,      // the network or the server failed: another attempt may help
    kImpossible,  // it will not help: the certificate, an address that is refused
    kThrown,      // by one of the functions: `thrown`
  };
  uint64_t id = 0;
  Kind kind = Kind::kDone;
  WebHead head;  // status 0 when none came
  std::string message;
  std::exception_ptr thrown;

  // Throws what it says unless it is kDone.
  void raise_if_failed() const {
    if (kind == Kind::kThrown) std::rethrow_exception(thrown);
    if (kind != Kind::kDone) throw Error(ErrorCode::kIo, message);
  }
};

// HTTP/1.1 over libcurl's multi handle: many transfers at a time in the one thread that calls it,
// over connections that are kept. Redirects are not followed, cookies, .netrc and the environment's
// proxies not looked at, bodies not decompressed. Heads are bounded (64 KiB, 200 fields).
//
// Where a server sends us is not for it to choose freely: the first connection is to who was asked
// for; if that is a public address, later ones may not lead into this machine or its networks.
// Link-local addresses (where clouds keep their credentials) are never reached by a redirect.
class WebTransport {
 public:
  // Throws Error(kUnsupported) when `options` say that nothing may go out.
  WebTransport(const RegistryOptions& options, std::stop_token stop);
  ~WebTransport();
  WebTransport(const WebTransport&) = delete;
  WebTransport& operator=(const WebTransport&) = delete;

  using Id = uint64_t;
  Id start(WebTransfer transfer);
  void cancel(Id id);  // its functions are not called any more

  // Waits for something to happen, `patience` at most, and gives what has ended. Throws
  // Error(kCancelled) when a stop is asked for.
  std::vector<WebResult> run(std::chrono::milliseconds patience);

  // One transfer whose body is small; others go on meanwhile (their results come from the next
  // run()). More than `max_bytes` is kThrown with kCorruptData.
  std::pair<WebResult, std::string> send(WebRequest request, bool is_unverified, size_t max_bytes);

  // Waits; transfers go on. Throws Error(kCancelled).
  void sleep(std::chrono::milliseconds duration);

  void check_stop() const;
  // False until the head of a reply has come: nobody may be there at all.
  bool has_heard_anything() const;

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace sluice::registry
