#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

// What systemd, or another manager that speaks its protocols (sd_listen_fds(3), sd_notify(3)),
// hands to the server and hears from it. Without one nothing is handed over, and what is told goes
// nowhere.
namespace sluice::server {

// A socket that was made, bound and set to listen before the program began.
struct ServiceSocket {
  int descriptor = -1;
  std::string address;  // "127.0.0.1", "::"
  uint16_t port = 0;
};
// Throws Error(kInvalidArgument) for more than one, and for what is no listening TCP socket. The
// variables that tell of it are gone afterwards: what this program starts is not meant.
std::optional<ServiceSocket> take_service_socket();

void tell_ready();
void tell_reloading();
// It may take so long until the program ends.
void tell_stopping(std::chrono::milliseconds patience);

}  // namespace sluice::server
