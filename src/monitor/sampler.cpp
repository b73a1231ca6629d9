#include "monitor/sampler.h"

namespace sluice::monitor {
namespace {

constexpr http::ClientOptions kImpatient{.connect_timeout = std::chrono::milliseconds(500),
                                         .idle_timeout = std::chrono::milliseconds(1000)};

bool is_this_machine(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

}  // namespace

Sampler::Sampler(const http::Url& url)
    : url_text_(url.text()),
      port_(url.port),
      is_local_(is_this_machine(url.host)),
      client_(url, kImpatient) {}

// The process to show: the one that the server names, else the one that listens on the port.
std::optional<int> Sampler::server_process(const ServerSample& server) {
  if (!is_local_ || server.kind == ServerKind::kNone) {
    found_pid_ = 0;
    return {};
  }
  if (server.pid > 0) return server.pid;
  if (found_pid_ == 0) found_pid_ = find_listening_process(port_).value_or(0);
  if (found_pid_ == 0) return {};
  return found_pid_;
}

Snapshot Sampler::take() {
  Snapshot snapshot;
  snapshot.server = sample_server(client_);
  // The counters of the server and the clock belong together; the rest follows at once.
  snapshot.time = std::chrono::steady_clock::now();
  snapshot.machine = sample_machine();
  snapshot.gpus = gpus_.sample();
  if (const auto pid = server_process(snapshot.server)) {
    snapshot.process = sample_process(*pid);
    if (!snapshot.process) found_pid_ = 0;
  }
  return snapshot;
}

}  // namespace sluice::monitor
