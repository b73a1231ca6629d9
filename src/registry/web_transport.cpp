#include "registry/web_transport.h"

#include <curl/curl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <mutex>

#include "base/error.h"
#include "base/print.h"
#include "registry/address_scope.h"
#include "registry/proxy.h"

namespace sluice::registry {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kMaxHeadBytes = size_t{64} << 10;
constexpr size_t kMaxHeaders = 200;
constexpr uint64_t kStallBytes = 1024;
constexpr long kReceiveBufferBytes = 256 << 10;
constexpr long kMaxKeptConnections = 24;

struct EasyCloser {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct MultiCloser {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct ListCloser {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using EasyHandle = std::unique_ptr<CURL, EasyCloser>;
using MultiHandle = std::unique_ptr<CURLM, MultiCloser>;
using HeaderList = std::unique_ptr<curl_slist, ListCloser>;

MultiHandle make_multi() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  MultiHandle multi(curl_multi_init());
  if (!multi) throw std::bad_alloc();
  return multi;
}

void append(HeaderList& list, const std::string& line) {
  curl_slist* longer = curl_slist_append(list.get(), line.c_str());
  if (!longer) throw std::bad_alloc();
  list.release();
  list.reset(longer);
}

std::string trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && std::strchr(" \t\r\n", text.back())) text.remove_suffix(1);
  return std::string(text);
}

// Nothing that another attempt may change.
bool is_hopeless(CURLcode code) {
  constexpr std::array kHopeless = {CURLE_UNSUPPORTED_PROTOCOL,     CURLE_URL_MALFORMAT,
                                    CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE,
                                    CURLE_SSL_CERTPROBLEM,          CURLE_SSL_CIPHER,
                                    CURLE_SSL_ISSUER_ERROR};
  return std::find(kHopeless.begin(), kHopeless.end(), code) != kHopeless.end();
}

}  // namespace

struct WebTransport::State {
  // A transfer under way; its handle points back to it.
  struct Flight {
    State* owner = nullptr;
    Id id = 0;
    WebTransfer transfer;
    EasyHandle easy;
    HeaderList headers;
    WebHead head;
    size_t head_bytes = 0;
    bool is_head_told = false;
    bool is_proxied = false;
    bool is_refused_address = false;
    std::exception_ptr thrown;
    std::string failure;  // why we end it ourselves
    std::array<char, CURL_ERROR_SIZE> error_text{};
    Clock::time_point started = Clock::now();
    Clock::time_point window_start = started;  // of the time in which kStallBytes must move
    uint64_t window_bytes = 0;
    size_t body_read = 0;  // of transfer.request.body

    // Curl's functions may not be left by exceptions: this keeps what is thrown for the end.
    template <typename Action>
    bool guard(Action action) {
      try {
        action();
        return true;
      } catch (...) {
        thrown = std::current_exception();
        return false;
      }
    }
    void take_header(std::string_view line);
    void tell_head();
    bool is_too_slow(const RegistryOptions& options, Clock::time_point now);
  };

  State(const RegistryOptions& settings, std::stop_token token)
      : options(settings), stop(std::move(token)), multi(make_multi()) {
    curl_multi_setopt(multi.get(), CURLMOPT_MAXCONNECTS, kMaxKeptConnections);
    curl_multi_setopt(multi.get(), CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
  }
  ~State() {
    for (auto& [id, flight] : flights) curl_multi_remove_handle(multi.get(), flight->easy.get());
  }

  EasyHandle take_easy();
  void configure(Flight& flight);
  void configure_body(Flight& flight);
  void drop(Id id);
  void collect();
  void end_slow();
  WebResult result_of(Flight& flight, CURLcode code);

  static size_t on_header(char* data, size_t size, size_t count, void* flight);
  static size_t on_data(char* data, size_t size, size_t count, void* flight);
  static size_t on_read(char* data, size_t size, size_t count, void* flight);
  static int on_seek(void* flight, curl_off_t offset, int origin);
  static curl_socket_t on_socket(void* flight, curlsocktype, curl_sockaddr* address);

  const RegistryOptions options;
  const std::stop_token stop;
  MultiHandle multi;
  std::map<Id, std::unique_ptr<Flight>> flights;
  std::vector<EasyHandle> idle;
  std::vector<WebResult> ended;
  std::optional<AddressScope> first_scope;  // of the server that was asked for
  Id last_id = 0;
  bool has_heard_anything = false;
};

void WebTransport::State::Flight::take_header(std::string_view line) {
  head_bytes += line.size();
  if (line.starts_with("HTTP/")) {  // also of one behind a 100 Continue
    head = {};
    is_head_told = false;
    return;
  }
  if (head_bytes > kMaxHeadBytes || head.headers.size() >= kMaxHeaders) {
    throw Error(ErrorCode::kCorruptData, transfer.request.url.host + " sends endless headers");
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  std::string name = trimmed(line.substr(0, colon));
  for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  head.headers.emplace_back(std::move(name), trimmed(line.substr(colon + 1)));
}

// Once, when the head of the last reply is whole.
void WebTransport::State::Flight::tell_head() {
  if (is_head_told) return;
  long status = 0;
  curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
  head.status = static_cast<int>(status);
  if (status < 200) return;
  is_head_told = true;
  owner->has_heard_anything = true;
  if (transfer.on_head) transfer.on_head(head);
}

bool WebTransport::State::Flight::is_too_slow(const RegistryOptions& options,
                                              Clock::time_point now) {
  const std::string& host = transfer.request.url.host;
  if (transfer.time_limit > milliseconds(0) && now - started > transfer.time_limit) {
    failure = host + " did not answer in time";
    return true;
  }
  const bool is_sending = transfer.request.read_body != nullptr;
  if (!is_head_told && !is_sending && now - started > options.head_timeout) {
    failure = host + " did not answer in time";
    return true;
  }
  if (now - window_start < options.stall_timeout) return false;
  const bool has_stalled = (is_head_told || is_sending) && window_bytes < kStallBytes;
  window_start = now;
  window_bytes = 0;
  if (has_stalled) failure = "nothing came from " + host + " for a while";
  return has_stalled;
}

EasyHandle WebTransport::State::take_easy() {
  if (!idle.empty()) {
    EasyHandle easy = std::move(idle.back());
    idle.pop_back();
    curl_easy_reset(easy.get());
    return easy;
  }
  EasyHandle easy(curl_easy_init());
  if (!easy) throw std::bad_alloc();
  return easy;
}

void WebTransport::State::configure(Flight& flight) {
  CURL* easy = flight.easy.get();
  const WebRequest& request = flight.transfer.request;
  const std::string proxy = proxy_for(options, request.url);
  flight.is_proxied = !proxy.empty();
  if (flight.is_proxied && !first_scope) first_scope = AddressScope::kPublic;
  for (const auto& [name, value] : request.headers) {
    append(flight.headers, value.empty() ? name + ";" : name + ": " + value);
  }
  append(flight.headers, "Expect:");  // curl would ask before it sends a body
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &flight);
  curl_easy_setopt(easy, CURLOPT_URL, request.url.text().c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(easy, CURLOPT_PROXY, proxy.c_str());
  curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
  curl_easy_setopt(easy, CURLOPT_USERAGENT, options.user_agent.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, flight.headers.get());
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kReceiveBufferBytes);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(options.connect_timeout.count()));
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, flight.transfer.is_unverified ? 0L : 1L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, flight.transfer.is_unverified ? 0L : 2L);
  if (!options.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, options.ca_file.c_str());
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, flight.error_text.data());
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &State::on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &flight);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &State::on_data);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &flight);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, &State::on_socket);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, &flight);
  configure_body(flight);
}

void WebTransport::State::configure_body(Flight& flight) {
  CURL* easy = flight.easy.get();
  const WebRequest& request = flight.transfer.request;
  if (request.method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (request.method != "GET") {
    const uint64_t size = request.read_body ? request.body_bytes : request.body.size();
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(size));
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, &State::on_read);
    curl_easy_setopt(easy, CURLOPT_READDATA, &flight);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, &State::on_seek);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, &flight);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, kReceiveBufferBytes);
  }
}

size_t WebTransport::State::on_header(char* data, size_t size, size_t count, void* pointer) {
  auto& flight = *static_cast<Flight*>(pointer);
  const std::string_view line(data, size * count);
  const bool is_end = line == "\r\n" || line == "\n";
  const bool is_fine =
      flight.guard([&] { is_end ? flight.tell_head() : flight.take_header(line); });
  return is_fine ? line.size() : 0;
}

size_t WebTransport::State::on_data(char* data, size_t size, size_t count, void* pointer) {
  auto& flight = *static_cast<Flight*>(pointer);
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size * count);
  flight.window_bytes += bytes.size();
  const bool is_fine = flight.guard([&] {
    flight.tell_head();
    if (flight.transfer.on_body) flight.transfer.on_body(bytes);
  });
  return is_fine ? bytes.size() : 0;
}

size_t WebTransport::State::on_read(char* data, size_t size, size_t count, void* pointer) {
  auto& flight = *static_cast<Flight*>(pointer);
  const WebRequest& request = flight.transfer.request;
  const std::span out(reinterpret_cast<std::byte*>(data), size * count);
  size_t taken = 0;
  const bool is_fine = flight.guard([&] {
    if (request.read_body) {
      taken = request.read_body(out);
    } else {
      taken = std::min(out.size(), request.body.size() - flight.body_read);
      std::memcpy(out.data(), request.body.data() + flight.body_read, taken);
      flight.body_read += taken;
    }
  });
  flight.window_bytes += taken;
  return is_fine ? taken : CURL_READFUNC_ABORT;
}

// When a kept connection turns out to be closed, curl begins the body again.
int WebTransport::State::on_seek(void* pointer, curl_off_t offset, int origin) {
  auto& flight = *static_cast<Flight*>(pointer);
  if (flight.transfer.request.read_body || origin != SEEK_SET || offset != 0) {
    return CURL_SEEKFUNC_CANTSEEK;
  }
  flight.body_read = 0;
  return CURL_SEEKFUNC_OK;
}

curl_socket_t WebTransport::State::on_socket(void* pointer, curlsocktype, curl_sockaddr* address) {
  auto& flight = *static_cast<Flight*>(pointer);
  State& state = *flight.owner;
  if (!flight.is_proxied) {
    const AddressScope scope = scope_of(address->addr);
    if (!state.first_scope) state.first_scope = scope;
    // The server that was asked for may have several addresses, or be link-local itself.
    const bool is_first = flight.id == 1;
    if (!is_first && !may_lead_to(*state.first_scope, scope) && scope != *state.first_scope) {
      flight.is_refused_address = true;
      return CURL_SOCKET_BAD;
    }
  }
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

WebResult WebTransport::State::result_of(Flight& flight, CURLcode code) {
  WebResult result;
  result.id = flight.id;
  const std::string& host = flight.transfer.request.url.host;
  if (code == CURLE_OK && !flight.thrown) {
    flight.guard([&] { flight.tell_head(); });
  }
  result.head = std::move(flight.head);
  if (flight.thrown) {
    result.kind = WebResult::Kind::kThrown;
    result.thrown = flight.thrown;
  } else if (flight.is_refused_address) {
    result.kind = WebResult::Kind::kImpossible;
    result.message = "refused to follow to " + host + ": the address is inside this network";
  } else if (code != CURLE_OK) {
    result.kind = is_hopeless(code) ? WebResult::Kind::kImpossible : WebResult::Kind::kBroken;
    const std::string text =
        flight.error_text[0] ? flight.error_text.data() : curl_easy_strerror(code);
    result.message = host + ": " + printable(text);
    if (code == CURLE_PEER_FAILED_VERIFICATION) {
      result.message += "; --insecure and https:// in front of the name pass over that";
    }
  }
  return result;
}

void WebTransport::State::drop(Id id) {
  const auto found = flights.find(id);
  if (found == flights.end()) return;
  curl_multi_remove_handle(multi.get(), found->second->easy.get());
  idle.push_back(std::move(found->second->easy));
  flights.erase(found);
}

void WebTransport::State::collect() {
  int num_left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi.get(), &num_left)) {
    if (message->msg != CURLMSG_DONE) continue;
    char* pointer = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &pointer);
    auto& flight = *reinterpret_cast<Flight*>(pointer);
    const CURLcode code = message->data.result;
    ended.push_back(result_of(flight, code));
    drop(flight.id);
  }
}

void WebTransport::State::end_slow() {
  const auto now = Clock::now();
  std::vector<Id> slow;
  for (auto& [id, flight] : flights) {
    if (flight->is_too_slow(options, now)) slow.push_back(id);
  }
  for (const Id id : slow) {
    Flight& flight = *flights.at(id);
    WebResult result{.id = id,
                     .kind = WebResult::Kind::kBroken,
                     .head = std::move(flight.head),
                     .message = flight.failure,
                     .thrown = nullptr};
    ended.push_back(std::move(result));
    drop(id);
  }
}

WebTransport::WebTransport(const RegistryOptions& options, std::stop_token stop) {
  if (options.is_offline) {
    throw Error(ErrorCode::kUnsupported,
                "nothing is fetched or sent: offline was asked for (--offline, SLUICE_OFFLINE)");
  }
  state_ = std::make_unique<State>(options, std::move(stop));
}

WebTransport::~WebTransport() = default;

WebTransport::Id WebTransport::start(WebTransfer transfer) {
  auto flight = std::make_unique<State::Flight>();
  flight->owner = state_.get();
  flight->id = ++state_->last_id;
  flight->transfer = std::move(transfer);
  flight->easy = state_->take_easy();
  state_->configure(*flight);
  const Id id = flight->id;
  if (curl_multi_add_handle(state_->multi.get(), flight->easy.get()) != CURLM_OK) {
    throw std::bad_alloc();
  }
  state_->flights.emplace(id, std::move(flight));
  return id;
}

void WebTransport::cancel(Id id) {
  state_->drop(id);
  std::erase_if(state_->ended, [id](const WebResult& result) { return result.id == id; });
}

void WebTransport::check_stop() const {
  if (state_->stop.stop_requested()) throw Error(ErrorCode::kCancelled, "request canceled");
}

bool WebTransport::has_heard_anything() const { return state_->has_heard_anything; }

std::vector<WebResult> WebTransport::run(milliseconds patience) {
  State& state = *state_;
  const std::stop_callback wake(state.stop, [&state] { curl_multi_wakeup(state.multi.get()); });
  check_stop();
  int num_running = 0;
  curl_multi_perform(state.multi.get(), &num_running);
  state.collect();
  if (state.ended.empty()) {
    curl_multi_poll(state.multi.get(), nullptr, 0, static_cast<int>(patience.count()), nullptr);
    check_stop();
    curl_multi_perform(state.multi.get(), &num_running);
    state.collect();
  }
  state.end_slow();
  return std::exchange(state.ended, {});
}

std::pair<WebResult, std::string> WebTransport::send(WebRequest request, bool is_unverified,
                                                     size_t max_bytes) {
  std::string body;
  WebTransfer transfer;
  const std::string host = request.url.host;
  if (!request.read_body) transfer.time_limit = state_->options.reply_timeout;
  transfer.request = std::move(request);
  transfer.is_unverified = is_unverified;
  transfer.on_body = [&](std::span<const std::byte> bytes) {
    if (bytes.size() > max_bytes - body.size()) {
      throw Error(ErrorCode::kCorruptData, host + " sends more than " + std::to_string(max_bytes) +
                                               " bytes where a short reply was wanted");
    }
    body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  const Id id = start(std::move(transfer));
  std::vector<WebResult> others;  // nobody's result may be lost
  std::optional<WebResult> mine;
  struct PutBack {
    State& state;
    std::vector<WebResult>& results;
    ~PutBack() { state.ended.insert(state.ended.begin(), results.begin(), results.end()); }
  } put_back{*state_, others};
  try {
    while (!mine) {
      for (WebResult& result : run(milliseconds(100))) {
        if (result.id == id) {
          mine = std::move(result);
        } else {
          others.push_back(std::move(result));
        }
      }
    }
  } catch (...) {
    cancel(id);
    throw;
  }
  return {std::move(*mine), std::move(body)};
}

void WebTransport::sleep(milliseconds duration) {
  const auto end = Clock::now() + duration;
  std::vector<WebResult> others;
  while (Clock::now() < end) {
    const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now());
    for (WebResult& result : run(std::clamp(left, milliseconds(1), milliseconds(100)))) {
      others.push_back(std::move(result));
    }
  }
  state_->ended.insert(state_->ended.begin(), others.begin(), others.end());
}

}  // namespace sluice::registry
