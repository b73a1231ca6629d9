#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace sluice::registry::test {

struct ScriptedRequest {
  std::string method;
  std::string target;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;

  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

// The other end of a connection, for the script to do with as it likes.
class Peer {
 public:
  explicit Peer(int socket) : socket_(socket) {}
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return is_open_ = false;
      bytes.remove_prefix(static_cast<size_t>(count));
    }
    return true;
  }
  void reply(int status, std::string_view headers, std::string_view body) {
    send("HTTP/1.1 " + std::to_string(status) + " Status\r\n" + std::string(headers) +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body));
  }
  void close() { is_open_ = false; }
  bool is_open() const { return is_open_; }
  // Says nothing until the other side goes.
  void wait_until_gone() {
    char byte;
    while (::recv(socket_, &byte, 1, 0) > 0) {
    }
    is_open_ = false;
  }

 private:
  int socket_;
  bool is_open_ = true;
};

// A server on a free port of this machine whose every reply is what a function makes of it; a
// thread a connection.
class ScriptedServer {
 public:
  using Script = std::function<void(const ScriptedRequest&, Peer&)>;

  explicit ScriptedServer(Script script = {}) : script_(std::move(script)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::listen(listener_, 64) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw std::runtime_error("cannot listen");
    }
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~ScriptedServer() {
    is_stopping_ = true;
    acceptor_.join();
    {
      std::lock_guard lock(mutex_);
      for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
    }
    for (std::thread& thread : threads_) thread.join();
    ::close(listener_);
  }
  ScriptedServer(const ScriptedServer&) = delete;

  std::string host() const { return "127.0.0.1:" + std::to_string(port_); }
  std::string url() const { return "http://" + host(); }
  void set_script(Script script) { script_ = std::move(script); }

  std::vector<ScriptedRequest> requests() const {
    std::lock_guard lock(mutex_);
    return requests_;
  }
  size_t count(std::string_view method, std::string_view target_part) const {
    size_t number = 0;
    for (const ScriptedRequest& request : requests()) {
      number += request.method == method && request.target.find(target_part) != std::string::npos;
    }
    return number;
  }

 private:
  void accept_all() {
    while (!is_stopping_) {
      pollfd wait{listener_, POLLIN, 0};
      if (::poll(&wait, 1, 20) <= 0) continue;
      const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (socket < 0) continue;
      std::lock_guard lock(mutex_);
      sockets_.push_back(socket);
      threads_.emplace_back([this, socket] { serve(socket); });
    }
  }

  void serve(int socket) {
    Peer peer(socket);
    std::string buffer;
    ScriptedRequest request;
    while (peer.is_open() && read_request(socket, buffer, request)) {
      {
        std::lock_guard lock(mutex_);
        requests_.push_back(request);
      }
      script_(request, peer);
    }
    std::lock_guard lock(mutex_);
    std::erase(sockets_, socket);
    ::close(socket);
  }

  static bool fill(int socket, std::string& buffer) {
    char bytes[65536];
    const ssize_t count = ::recv(socket, bytes, sizeof bytes, 0);
    if (count <= 0) return false;
    buffer.append(bytes, static_cast<size_t>(count));
    return true;
  }

  static bool read_request(int socket, std::string& buffer, ScriptedRequest& request) {
    size_t end;
    while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
      if (!fill(socket, buffer)) return false;
    }
    request = {};
    const std::string head = buffer.substr(0, end + 2);
    buffer.erase(0, end + 4);
    const size_t line_end = head.find("\r\n");
    const size_t first = head.find(' '), second = head.find(' ', first + 1);
    request.method = head.substr(0, first);
    request.target = head.substr(first + 1, second - first - 1);
    for (size_t at = line_end + 2; at < head.size();) {
      const size_t stop = head.find("\r\n", at), colon = head.find(':', at);
      std::string name = head.substr(at, colon - at);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      request.headers[name] = head.substr(colon + 2, stop - colon - 2);
      at = stop + 2;
    }
    const std::string length = request.header("content-length");
    const size_t size = length.empty() ? 0 : std::stoul(length);
    while (buffer.size() < size) {
      if (!fill(socket, buffer)) return false;
    }
    request.body = buffer.substr(0, size);
    buffer.erase(0, size);
    return true;
  }

  Script script_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> is_stopping_ = false;
  std::thread acceptor_;
  mutable std::mutex mutex_;  // guards what follows
  std::vector<int> sockets_;
  std::vector<std::thread> threads_;
  std::vector<ScriptedRequest> requests_;
};

}  // namespace sluice::registry::test
