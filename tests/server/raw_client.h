#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sluice::test {

// A client in plain sockets, to send what no HTTP library would.
class RawClient {
 public:
  explicit RawClient(uint16_t port, int receive_buffer = 0) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer > 0) {
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      throw std::runtime_error("cannot connect");
    }
  }
  ~RawClient() { close(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void shut_write() { ::shutdown(fd_, SHUT_WR); }

  // False when the server closed meanwhile.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(count));
    }
    return true;
  }

  // Reads until `until` is in what came so far, the server closes, or time is up; returns all of
  // it.
  std::string receive(std::string_view until = "",
                      std::chrono::milliseconds limit = std::chrono::seconds(10)) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (until.empty() || received_.find(until) == std::string::npos) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - std::chrono::steady_clock::now());
      pollfd item{fd_, POLLIN, 0};
      if (left.count() <= 0 || ::poll(&item, 1, static_cast<int>(left.count())) <= 0) break;
      char piece[16384];
      const ssize_t count = ::recv(fd_, piece, sizeof piece, 0);
      if (count <= 0) {
        is_closed_ = true;
        break;
      }
      received_.append(piece, static_cast<size_t>(count));
    }
    return received_;
  }
  bool is_closed() const { return is_closed_; }

  // Reads so much at the most of what is there.
  void receive_some(size_t most) {
    std::string piece(most, '\0');
    const ssize_t count = ::recv(fd_, piece.data(), most, MSG_DONTWAIT);
    if (count > 0) received_.append(piece, 0, static_cast<size_t>(count));
    if (count == 0) is_closed_ = true;
  }

  // One whole reply: with a Content-Length, or chunked to its end.
  std::string receive_reply() {
    const std::string head = receive("\r\n\r\n");
    const size_t end = head.find("\r\n\r\n");
    const size_t length = head.find("Content-Length: ");
    if (end == std::string::npos) return head;
    if (length == std::string::npos || length > end) return receive("\r\n0\r\n\r\n");
    const size_t total = end + 4 + std::stoul(head.substr(length + 16));
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (received_.size() < total && !is_closed_ && std::chrono::steady_clock::now() < deadline) {
      receive("\x01 never sent", std::chrono::milliseconds(5));
    }
    return received_;
  }

 private:
  int fd_ = -1;
  bool is_closed_ = false;
  std::string received_;
};

inline int status_of(const std::string& reply) {
  return reply.starts_with("HTTP/1.1 ") ? std::stoi(reply.substr(9, 3)) : 0;
}

inline std::string get(const std::string& path) {
  return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
}

inline std::string post(const std::string& path, const std::string& body) {
  return "POST " + path +
         " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

// Asks again and again until `condition` holds; false when time is up.
template <typename Condition>
bool eventually(Condition condition, std::chrono::milliseconds limit = std::chrono::seconds(10)) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    usleep(1000);
  }
  return true;
}

}  // namespace sluice::test
