#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>

#include "server/session.h"

namespace boost::asio::ssl {
class context;
}

namespace sluice::server {

class TlsRelay;

// TLS in front of the sessions: each encrypted connection is relayed to one end of a pair of
// sockets, and a session serves the other end as it would a plain one. Knows of no HTTP.
class TlsFront {
 public:
  // Throws Error(kInvalidArgument) naming the file for what is no certificate, no key, or not the
  // key of that certificate.
  TlsFront(std::string cert_path, std::string key_path);
  ~TlsFront();

  // Reads the files again, for connections that come from now on. Throws as the constructor does,
  // and then all stays as it is. From any thread.
  void reload();

  // Takes a connection that was accepted on `strand`; its handshake has to be over within
  // header_timeout.
  void adopt(const std::shared_ptr<SessionHost>& host, tcp::socket socket, const Strand& strand);
  // Of which some may be before their handshake's end, where there is no session yet.
  int num_connections() const;
  // Ends handshakes at once, and what is written to clients within a second.
  void end();

 private:
  friend class TlsRelay;
  struct Shared;
  const std::string cert_path_, key_path_;
  const std::shared_ptr<Shared> shared_;
};

}  // namespace sluice::server
