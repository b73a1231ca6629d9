#include "registry/registry_client.h"

#include <openssl/rand.h>

#include <array>
#include <charconv>
#include <ctime>

#include "base/error.h"
#include "base/print.h"
#include "registry/backoff.h"
#include "registry/challenge.h"
#include "registry/signing_key.h"

namespace sluice::registry {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kShortestTokenLife{20};

// 16 random bytes in the alphabet of URLs, without padding.
std::string make_nonce() {
  std::array<char, 16> bytes;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size()) != 1) {
    throw Error(ErrorCode::kInternal, "OpenSSL gives no random numbers");
  }
  std::string text = base64_encode(std::string_view(bytes.data(), bytes.size()));
  for (char& c : text) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return text.substr(0, text.find('='));
}

}  // namespace

bool is_temporary(int status) { return status == 408 || status == 429 || status >= 500; }

milliseconds retry_after(const WebHead& head) {
  constexpr int kLongestSeconds = 120;
  const std::string text = head.header("retry-after");
  int seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error == std::errc::result_out_of_range) seconds = kLongestSeconds;
  return std::chrono::seconds(std::clamp(seconds, 0, kLongestSeconds));
}

void fail_status(const std::string& action, const WebHead& head, std::string_view body) {
  const std::string text = error_message(body);
  if (head.status == 401 || head.status == 403) {
    throw Error(ErrorCode::kIo,
                action + ": unauthorized: access denied" + (text.empty() ? "" : " (" + text + ")"));
  }
  const ErrorCode code = head.status == 404 ? ErrorCode::kNotFound : ErrorCode::kIo;
  throw Error(code,
              action + ": " + std::to_string(head.status) + (text.empty() ? "" : ": ") + text);
}

RegistryClient::RegistryClient(const Reference& reference, const RegistryOptions& options,
                               std::stop_token stop)
    : options_(options),
      origin_(reference.url("")),
      is_unverified_(reference.is_unverified),
      transport_(options, std::move(stop)) {}

RegistryClient::RegistryClient(const WebUrl& origin, bool insecure, const RegistryOptions& options,
                               std::stop_token stop)
    : options_(options),
      origin_(origin),
      is_unverified_(insecure),
      transport_(options, std::move(stop)) {}

void RegistryClient::add_credentials(WebRequest& request) const {
  std::erase_if(request.headers,
                [](const auto& header) { return header.first == "authorization"; });
  if (!token_.empty() && request.url.has_same_origin(origin_)) {
    request.headers.emplace_back("authorization", "Bearer " + token_);
  }
}

WebUrl RegistryClient::follow(const WebUrl& from, const WebHead& head, int num_hops) const {
  const std::string location = head.header("location");
  if (location.empty()) {
    throw Error(ErrorCode::kCorruptData, from.host + " redirects without saying where to");
  }
  if (num_hops >= kMaxHops) {
    throw Error(ErrorCode::kCorruptData,
                from.host + " redirects for ever (after " + std::to_string(num_hops) + " times)");
  }
  const WebUrl next = from.resolve(location);
  if (from.is_secure() && !next.is_secure() && !is_unverified_) {
    throw Error(ErrorCode::kCorruptData,
                from.host + " redirects from https to http, which is not followed");
  }
  return next;
}

bool RegistryClient::sign_in(const WebRequest& refused, const WebHead& head) {
  for (const auto& header : refused.headers) {
    if (header.first != "authorization") continue;
    // Another transfer may have got a new token since this one was sent. A token's time may be
    // over, but a new one is not refused so soon.
    if (header.second != "Bearer " + token_) return true;
    if (Clock::now() - signed_in_ < kShortestTokenLife) return false;
  }
  const Challenge challenge = parse_challenge(head.header("www-authenticate"));
  if (challenge.scheme != "bearer" || challenge.realm.empty()) {
    if (challenge.scheme == "basic") {
      throw Error(ErrorCode::kUnsupported,
                  origin_.host + " wants a name and a password, which is not supported");
    }
    return false;
  }
  WebUrl realm = WebUrl::parse(challenge.realm);
  // A registry must not have us show ourselves to somebody else.
  if (!realm.has_same_origin(origin_)) {
    throw Error(ErrorCode::kCorruptData, origin_.host + " sends us to sign in at " + realm.host +
                                             ", which is another host: refused");
  }
  auto add = [&realm, separator = realm.target.find('?') == std::string::npos ? '?' : '&'](
                 std::string_view key, std::string_view value) mutable {
    realm.target += separator + std::string(key) + "=" + percent_encode(value);
    separator = '&';
  };
  add("nonce", make_nonce());
  for (const std::string& scope : challenge.scopes) add("scope", scope);
  if (!challenge.service.empty()) add("service", challenge.service);
  add("ts", std::to_string(std::time(nullptr)));
  token_ = fetch_token(realm);
  signed_in_ = Clock::now();
  return true;
}

std::string RegistryClient::fetch_token(const WebUrl& realm) {
  WebRequest request{.url = realm};
  if (!options_.key_path.empty()) {
    const SigningKey key = SigningKey::load_or_create(options_.key_path);
    request.headers.emplace_back("authorization", sign_token_request(key, realm.text()));
  }
  Backoff backoff(options_);
  while (true) {
    const auto [result, body] = transport_.send(request, is_unverified_, size_t{256} << 10);
    const bool is_broken = result.kind == WebResult::Kind::kBroken;
    if ((!is_broken && !is_temporary(result.head.status)) || !backoff.may_go_on()) {
      result.raise_if_failed();
      if (!result.head.is_success()) fail_status("signing in at " + realm.host, result.head, body);
      return parse_token(body);
    }
    transport_.sleep(std::max(backoff.next_delay(), retry_after(result.head)));
  }
}

WebReply RegistryClient::send(WebRequest request, size_t max_body_bytes) {
  Backoff backoff(options_);
  // Who has never been heard of is soon given up: a wrong name, no network.
  constexpr int kAttemptsUnheard = 2;
  for (int attempt = 1;; ++attempt) {
    bool is_worth_another = false;
    WebHead failed;
    std::exception_ptr error;
    try {
      WebReply reply = send_once(request, max_body_bytes, is_worth_another);
      if (!is_worth_another || !backoff.may_go_on()) return reply;
      failed = std::move(reply.head);
    } catch (const Error&) {
      const bool is_lost = !transport_.has_heard_anything() && attempt >= kAttemptsUnheard;
      if (!is_worth_another || is_lost || !backoff.may_go_on()) throw;
    }
    transport_.sleep(std::max(backoff.next_delay(), retry_after(failed)));
  }
}

WebReply RegistryClient::send_once(const WebRequest& wanted, size_t max_body_bytes,
                                   bool& is_worth_another) {
  const bool has_large_body = wanted.read_body != nullptr;
  WebRequest request = wanted;
  int num_hops = 0;
  while (true) {
    add_credentials(request);
    auto [result, body] = transport_.send(request, is_unverified_, max_body_bytes);
    is_worth_another = result.kind == WebResult::Kind::kBroken && !has_large_body;
    result.raise_if_failed();
    const WebHead& head = result.head;
    if (head.status == 401 && !has_large_body && request.url.has_same_origin(origin_) &&
        sign_in(request, head)) {
      continue;
    }
    const bool may_follow = request.method == "GET" || request.method == "HEAD";
    if (head.is_redirect() && may_follow) {
      request.url = follow(request.url, head, num_hops++);
      continue;
    }
    is_worth_another = is_temporary(head.status) && !has_large_body;
    return {std::move(result.head), std::move(body)};
  }
}

}  // namespace sluice::registry
