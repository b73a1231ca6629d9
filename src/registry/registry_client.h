#pragma once

#include <chrono>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "registry/options.h"
#include "registry/reference.h"
#include "registry/web_transport.h"

namespace sluice::registry {

// Speaks to the registry of one model for one job: signs in when asked to, follows redirects, tries
// again. Credentials go to the registry's own origin and nowhere else. For one thread.
class RegistryClient {
 public:
  // Throws Error(kUnsupported) when nothing may go out.
  RegistryClient(const Reference& reference, const RegistryOptions& options, std::stop_token stop);
  // For a file that is not in a registry.
  RegistryClient(const WebUrl& origin, bool insecure, const RegistryOptions& options,
                 std::stop_token stop);

  WebTransport& transport() { return transport_; }
  const RegistryOptions& options() const { return options_; }
  bool is_unverified() const { return is_unverified_; }

  // A small exchange, to its end: signs in, follows redirects of GET and HEAD, tries again what the
  // network or an overloaded server broke (never a request with read_body). Any other status is the
  // caller's to judge. Throws Error: kIo, kCorruptData, kCancelled.
  WebReply send(WebRequest request, size_t max_body_bytes = size_t{64} << 10);

  // The same, piece by piece, for who runs many transfers: adds what the registry wants to see.
  void add_credentials(WebRequest& request) const;
  // After 401: a token. False when it has one already and that was refused. Throws Error.
  bool sign_in(const WebRequest& refused, const WebHead& head);
  // Where a redirect leads. Throws Error: kCorruptData for no address, or too many of them; from
  // https to http only where `insecure`.
  WebUrl follow(const WebUrl& from, const WebHead& head, int num_hops) const;

  static constexpr int kMaxHops = 10;

 private:
  WebReply send_once(const WebRequest& request, size_t max_body_bytes, bool& is_worth_another);
  std::string fetch_token(const WebUrl& realm);

  const RegistryOptions options_;
  const WebUrl origin_;
  const bool is_unverified_;
  WebTransport transport_;
  std::string token_;
  std::chrono::steady_clock::time_point signed_in_;
};

// Error for a reply that was not wanted: "ACTION: 500: TEXT", kNotFound for 404, "unauthorized:
// access denied" for 401 and 403.
[[noreturn]] void fail_status(const std::string& action, const WebHead& head,
                              std::string_view body);
// Statuses that another attempt may change: 408, 429, 5xx.
bool is_temporary(int status);
// What Retry-After asks for, two minutes at most; 0 when it does not say.
std::chrono::milliseconds retry_after(const WebHead& head);

}  // namespace sluice::registry
