#pragma once

#include "http/client.h"
#include "monitor/gpu.h"
#include "monitor/view.h"

namespace sluice::monitor {

// Takes snapshots of one server, of this machine and its cards. Never throws for what is missing.
// A silent server holds a snapshot up for at most a second.
class Sampler {
 public:
  explicit Sampler(const http::Url& url);

  Snapshot take();

  const std::string& url() const { return url_text_; }
  // The server's address is one of this machine.
  bool is_local() const { return is_local_; }

 private:
  std::optional<int> server_process(const ServerSample& server);

  std::string url_text_;
  uint16_t port_;
  bool is_local_;
  http::Client client_;
  Gpus gpus_;
  int found_pid_ = 0;  // by the port, for servers that do not tell theirs
};

}  // namespace sluice::monitor
