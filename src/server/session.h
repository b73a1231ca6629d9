#pragma once

#include <memory>
#include <unordered_set>

#include "server/connection.h"
#include "server/http_server.h"

namespace sluice::server {

class Session;

// What sessions and their server share.
struct SessionHost {
  explicit SessionHost(const TransportOptions& options) : core(std::make_shared<Core>(options)) {}

  const std::shared_ptr<Core> core;
  HttpServer::Gate gate;
  HttpServer::Handler handler;
  HttpServer::Refusal refusal = [](const HttpRequest&, int status, std::string_view message) {
    return error_reply(status, message);
  };
  HttpServer::TakesPieces takes_pieces = [](const HttpRequest&) { return false; };
  HttpServer::OnRefused on_refused = [](const HttpRequest&, int) {};
  std::atomic<int> num_connections = 0;
  std::atomic<int> num_requests = 0;
  std::atomic<int> num_turned_away = 0;  // who are just being told that there are too many
  std::mutex mutex;                      // guards what follows
  std::unordered_set<Session*> sessions;
  bool is_stopping = false;
};

// Serves one connection until it ends. `socket` runs on `strand`.
void start_session(std::shared_ptr<SessionHost> host, tcp::socket socket, const Strand& strand);

// Ends what is being answered on every connection, each with a reply that says so.
void end_requests(SessionHost& host);
// Ends every connection, also one in the middle of a reply.
void close_sessions(SessionHost& host);

}  // namespace sluice::server
