#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "api/json.h"
#include "cli/settings.h"
#include "http/client.h"

namespace sluice::server {
class Server;
}

namespace sluice::cli {

// A server to talk to over HTTP: the one that runs already, or one of our own inside this process.
class ServerLink {
 public:
  // The running server. Throws Error(kIo) when there is none.
  static ServerLink connect(const Settings& settings);
  // The running server, else one of our own on the same store.
  static ServerLink connect_or_embed(const Settings& settings);
  // For `run`: as above; a path always gets a server of its own, which knows the file under the
  // name that model() then gives.
  // `longest_sequence`: tokens that its cache must hold; less starts faster.
  struct OwnServer {
    int num_threads = 0;  // 0: usable cores
    int longest_sequence = 32768;
  };
  static ServerLink for_model(const Settings& settings, const std::string& model,
                              const OwnServer& own);

  ~ServerLink();
  ServerLink(ServerLink&&) noexcept;
  ServerLink& operator=(ServerLink&&) noexcept;

  const std::string& model() const { return model_; }
  // Whether model() is a file that only this server knows.
  bool serves_file() const { return serves_file_; }

  // One request and its whole JSON reply ({} when empty). Throws Error with the server's own text,
  // and the names that are near where there is no such model.
  api::Json call(const std::string& method, const std::string& target,
                 const api::Json* body = nullptr);
  // Calls `on_line` with every JSON object of a streamed reply until it returns false. Throws
  // Error, also for an error line of the stream.
  void stream(const std::string& target, const api::Json& body,
              const std::function<bool(const api::Json&)>& on_line);
  // Makes sure that the server's store has a file under its digest, "sha256:...": sends it when it
  // is not there. `on_sent` is told the bytes that were sent. Throws Error.
  void send_blob(const std::string& digest, const std::string& path,
                 const std::function<void(uint64_t)>& on_sent);
  // ". Did you mean 'a' or 'b'?" of the models that are there, or "".
  std::string near_models(const std::string& name);
  // Ends a running stream() from another thread; it throws Error(kCancelled).
  void abort();

 private:
  ServerLink();
  static ServerLink embed(const Settings& settings, const std::string& model_path,
                          const OwnServer& own);
  [[noreturn]] void fail(const http::Response& response, const api::Json* body);

  std::unique_ptr<server::Server> server_;
  std::unique_ptr<http::Client> client_;
  std::string model_;
  bool serves_file_ = false;
};

}  // namespace sluice::cli
