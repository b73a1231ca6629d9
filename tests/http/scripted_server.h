#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

// An HTTP server for tests in plain sockets, independent of the client under test: it reads
// requests and a script writes any bytes it likes, so that broken and slow replies can be played.
namespace sluice::test {

struct ScriptedRequest {
  std::string method;
  std::string target;
  std::string head;  // request line and headers as they came
  std::string body;
};

class ScriptedConnection {
 public:
  ScriptedConnection(int fd, const std::atomic<bool>& stop) : fd_(fd), stop_(stop) {}

  // False when the peer is gone or the server stops.
  bool read_request(ScriptedRequest& request) {
    size_t end;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!read_more()) return false;
    }
    request.head = buffer_.substr(0, end + 4);
    const size_t space = request.head.find(' ');
    request.method = request.head.substr(0, space);
    request.target = request.head.substr(space + 1, request.head.find(' ', space + 1) - space - 1);
    size_t length = 0;
    const size_t field = request.head.find("Content-Length: ");
    if (field != std::string::npos) length = std::stoul(request.head.substr(field + 16));
    while (buffer_.size() < end + 4 + length) {
      if (!read_more()) return false;
    }
    request.body = buffer_.substr(end + 4, length);
    buffer_.erase(0, end + 4 + length);
    return true;
  }

  void write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(count));
    }
  }

  void write_chunk(std::string_view bytes) {
    char size[32];
    snprintf(size, sizeof size, "%zx\r\n", bytes.size());
    write(std::string(size) + std::string(bytes) + "\r\n");
  }

  void reply(int status, std::string_view body, std::string_view extra_headers = "") {
    write("HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Type: application/json\r\n" +
          std::string(extra_headers) + "Content-Length: " + std::to_string(body.size()) +
          "\r\n\r\n" + std::string(body));
  }

  // Until the peer closes or the server stops.
  void wait_closed() {
    while (read_more()) {
    }
  }

 private:
  bool read_more() {
    while (!stop_) {
      pollfd waiter{fd_, POLLIN, 0};
      if (::poll(&waiter, 1, 20) <= 0) continue;
      char bytes[4096];
      const ssize_t count = ::recv(fd_, bytes, sizeof bytes, 0);
      if (count <= 0) return false;
      buffer_.append(bytes, static_cast<size_t>(count));
      return true;
    }
    return false;
  }

  int fd_;
  const std::atomic<bool>& stop_;
  std::string buffer_;
};

class ScriptedServer {
 public:
  // Runs once for each connection, on a thread of its own; the connection closes when it returns.
  using Script = std::function<void(ScriptedConnection&)>;

  explicit ScriptedServer(Script script) : script_(std::move(script)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) abort();
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    ::listen(listener_, 512);
    acceptor_ = std::thread([this] { accept_loop(); });
  }

  ~ScriptedServer() {
    stop_ = true;
    acceptor_.join();
    for (std::thread& thread : threads_) thread.join();
    ::close(listener_);
  }

  uint16_t port() const { return port_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  int num_connections() const { return num_connections_; }

 private:
  void accept_loop() {
    while (!stop_) {
      pollfd waiter{listener_, POLLIN, 0};
      if (::poll(&waiter, 1, 20) <= 0) continue;
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      ++num_connections_;
      threads_.emplace_back([this, fd] {
        ScriptedConnection connection(fd, stop_);
        script_(connection);
        ::close(fd);
      });
    }
  }

  Script script_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<int> num_connections_{0};
  std::thread acceptor_;
  std::list<std::thread> threads_;
};

}  // namespace sluice::test
