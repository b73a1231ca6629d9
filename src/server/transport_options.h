#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace sluice::server {

// What may be sent to us, how much we keep, and how long it may take. Every bound is per connection
// unless it says otherwise.
struct TransportOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;          // 0: any free one
  int inherited_socket = -1;  // one that listens there already and is ours from then on; -1: none
  // PEM files of the certificate (with those that sign it) and its key; "": no TLS.
  std::string tls_cert, tls_key;
  int num_threads = 1;
  int max_connections = 4096;                // of the whole server
  size_t max_header_bytes = 64u << 10;       // request line and headers
  size_t max_body_bytes = 32u << 20;         // of one request
  size_t max_bodies_bytes = 256u << 20;      // of all requests being read, or not yet a prompt
  size_t max_unsent_bytes = 1u << 20;        // of a stream, made but not taken; at least 1
  size_t max_whole_reply_bytes = 64u << 20;  // of a reply that is not streamed
  size_t max_replies_bytes = 256u << 20;     // of all streams and replies, not taken by clients
  std::chrono::milliseconds header_timeout{10'000};  // for the whole header, from its first byte
  std::chrono::milliseconds body_timeout{60'000};    // for the whole body
  std::chrono::milliseconds idle_timeout{120'000};   // between two requests
  // For 64 KiB to be taken; of a reply as a whole, on the average, for max_unsent_bytes.
  std::chrono::milliseconds write_timeout{30'000};
};

}  // namespace sluice::server
