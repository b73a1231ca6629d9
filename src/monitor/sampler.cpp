#include "monitor/sampler.h"

#include "base/error.h"
#include "measure/chat_wire.h"

namespace sluice::monitor {
namespace {

constexpr std::chrono::milliseconds kConnectTimeout{500};
constexpr std::chrono::milliseconds kIdleTimeout{1000};

}  // namespace

bool is_this_machine(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

SnapshotSampler::SnapshotSampler(const http::Url& url, const std::string& api_key,
                                 bool lists_processes)
    : url_text_(url.text()),
      port_(url.port),
      is_local_(is_this_machine(url.host)),
      lists_processes_(lists_processes),
      client_(url, {kConnectTimeout, kIdleTimeout, api_key}) {}

// The process to show: the one that the server names, else the one that listens on the port.
std::optional<int> SnapshotSampler::server_process(const ServerSample& server) {
  if (!is_local_ || server.kind == ServerKind::kNone) {
    found_pid_ = 0;
    return {};
  }
  if (server.pid > 0) return server.pid;
  if (found_pid_ == 0 && --search_pause_ < 0) {
    // All files of all processes: not each second for one that another user has started.
    constexpr int kPause = 60;
    found_pid_ = machine::find_listening_process(port_).value_or(0);
    search_pause_ = kPause;
  }
  if (found_pid_ == 0) return {};
  return found_pid_;
}

std::string SnapshotSampler::cancel(const RequestSample& request) {
  const std::string name = "request " + std::to_string(request.id);
  const bool is_plain = !request.request_id.empty() &&
                        request.request_id.find_first_of("/?#% \r\n") == std::string::npos;
  if (!is_plain) return name + " has no id that could be sent";
  try {
    const http::Response response =
        client_.send({.method = "DELETE", .target = "/api/sluice/requests/" + request.request_id});
    if (response.status == 200) return name + " is cancelled";
    if (response.status == 401 || response.status == 403) {
      return "cancelling needs an API key of the scope manage: set SLUICE_API_KEY";
    }
    return name + " is not cancelled: " + measure::error_text_of(response.body);
  } catch (const Error& error) {
    return name + " is not cancelled: " + error.what();
  }
}

Snapshot SnapshotSampler::take() {
  Snapshot snapshot;
  snapshot.server = sample_server(client_);
  // The counters of the server and the clock belong together; the rest follows at once.
  snapshot.time = std::chrono::steady_clock::now();
  snapshot.machine = machine::sample_machine();
  snapshot.gpus = gpus_.sample(/*looks_closely=*/true);
  if (lists_processes_) snapshot.processes = machine::sample_all_processes();
  if (const auto pid = server_process(snapshot.server)) {
    snapshot.process = machine::sample_process(*pid);
    if (!snapshot.process) found_pid_ = 0;
  }
  return snapshot;
}

}  // namespace sluice::monitor
