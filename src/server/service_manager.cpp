#include "server/service_manager.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace sluice::server {
namespace {

ServiceSocket describe_socket(int descriptor) {
  if (sd_is_socket_inet(descriptor, AF_UNSPEC, SOCK_STREAM, 1, 0) <= 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "the socket that the service manager hands over should be a listening TCP one "
                "(ListenStream=127.0.0.1:11434)");
  }
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (getsockname(descriptor, reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    throw Error(ErrorCode::kIo, std::string("cannot read the address of the service manager's "
                                            "socket: ") +
                                    std::strerror(errno));
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  ServiceSocket socket{descriptor, "", 0};
  if (storage.ss_family == AF_INET) {
    const auto& address = reinterpret_cast<const sockaddr_in&>(storage);
    inet_ntop(AF_INET, &address.sin_addr, text.data(), text.size());
    socket.port = ntohs(address.sin_port);
  } else {
    const auto& address = reinterpret_cast<const sockaddr_in6&>(storage);
    inet_ntop(AF_INET6, &address.sin6_addr, text.data(), text.size());
    socket.port = ntohs(address.sin6_port);
  }
  socket.address = text.data();
  return socket;
}

}  // namespace

std::optional<ServiceSocket> take_service_socket() {
  const int count = sd_listen_fds(1);
  if (count < 0) {
    throw Error(ErrorCode::kInvalidArgument,
                std::string("cannot take the service manager's socket: ") + std::strerror(-count));
  }
  if (count == 0) return std::nullopt;
  if (count > 1) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the service manager hands over {} sockets; one ListenStream= is "
                            "served ([::]:11434 takes IPv4, too)",
                            count));
  }
  return describe_socket(SD_LISTEN_FDS_START);
}

void tell_ready() { sd_notify(0, "READY=1\nSTATUS=Answering requests"); }

void tell_reloading() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const int64_t microseconds = int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
  sd_notify(0, fmt::format("RELOADING=1\nMONOTONIC_USEC={}", microseconds).c_str());
}

void tell_stopping(std::chrono::milliseconds patience) {
  const std::chrono::microseconds limit = patience;
  sd_notify(0, fmt::format("STOPPING=1\nSTATUS=Waiting for running requests\n"
                           "EXTEND_TIMEOUT_USEC={}",
                           limit.count())
                   .c_str());
}

}  // namespace sluice::server
