#pragma once

#include "http/client.h"
#include "machine/gpu.h"
#include "monitor/view.h"

namespace sluice::monitor {

// An address that cannot lead to another machine.
bool is_this_machine(const std::string& host);

// Takes snapshots of one server, of this machine and its cards. Never throws for what is missing.
// A silent server holds a snapshot up for at most a second.
class SnapshotSampler {
 public:
  // `lists_processes`: also those that have nothing to do with the server.
  explicit SnapshotSampler(const http::Url& url, const std::string& api_key = {},
                           bool lists_processes = false);

  Snapshot take();
  // Asks the server to end a request; what became of it, in words.
  std::string cancel(const RequestSample& request);

  const std::string& url() const { return url_text_; }
  // The server's address is one of this machine.
  bool is_local() const { return is_local_; }

 private:
  std::optional<int> server_process(const ServerSample& server);

  std::string url_text_;
  uint16_t port_;
  bool is_local_;
  bool lists_processes_;
  http::Client client_;
  machine::Gpus gpus_;
  int found_pid_ = 0;     // by the port, for servers that do not tell theirs
  int search_pause_ = 0;  // samples until it is looked for again
};

}  // namespace sluice::monitor
