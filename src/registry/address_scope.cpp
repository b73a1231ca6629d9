#include "registry/address_scope.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <cstring>

namespace sluice::registry {
namespace {

struct Network {
  uint32_t address;
  int num_bits;
  AddressScope scope;
};

constexpr uint32_t ipv4(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return a << 24 | b << 16 | c << 8 | d;
}

// IANA's registry of special-purpose addresses, as far as something can listen there.
constexpr std::array kNetworks = {
    Network{ipv4(0, 0, 0, 0), 8, AddressScope::kLoopback},  // "this host"
    Network{ipv4(127, 0, 0, 0), 8, AddressScope::kLoopback},
    Network{ipv4(169, 254, 0, 0), 16, AddressScope::kLinkLocal},
    Network{ipv4(10, 0, 0, 0), 8, AddressScope::kPrivate},
    Network{ipv4(100, 64, 0, 0), 10, AddressScope::kPrivate},
    Network{ipv4(172, 16, 0, 0), 12, AddressScope::kPrivate},
    Network{ipv4(192, 168, 0, 0), 16, AddressScope::kPrivate},
    Network{ipv4(198, 18, 0, 0), 15, AddressScope::kPrivate},
    Network{ipv4(224, 0, 0, 0), 3, AddressScope::kLinkLocal},  // multicast, reserved, broadcast
};

AddressScope scope_of_ipv4(uint32_t address) {
  for (const Network& network : kNetworks) {
    if ((address ^ network.address) >> (32 - network.num_bits) == 0) return network.scope;
  }
  return AddressScope::kPublic;
}

AddressScope scope_of_ipv6(const in6_addr& address) {
  const uint8_t* bytes = address.s6_addr;
  const auto embedded = [&](int at) {
    return scope_of_ipv4(ipv4(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]));
  };
  if (IN6_IS_ADDR_LOOPBACK(&address) || IN6_IS_ADDR_UNSPECIFIED(&address)) {
    return AddressScope::kLoopback;
  }
  if (IN6_IS_ADDR_V4MAPPED(&address) || IN6_IS_ADDR_V4COMPAT(&address)) return embedded(12);
  if (bytes[0] == 0x00 && bytes[1] == 0x64 && bytes[2] == 0xff && bytes[3] == 0x9b) {
    return embedded(12);  // 64:ff9b::/96, translated to IPv4
  }
  if (bytes[0] == 0x20 && bytes[1] == 0x02) return embedded(2);  // 6to4
  if (IN6_IS_ADDR_LINKLOCAL(&address) || IN6_IS_ADDR_MULTICAST(&address)) {
    return AddressScope::kLinkLocal;
  }
  if ((bytes[0] & 0xfe) == 0xfc || IN6_IS_ADDR_SITELOCAL(&address)) return AddressScope::kPrivate;
  return AddressScope::kPublic;
}

}  // namespace

AddressScope scope_of(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof v4);
    return scope_of_ipv4(ntohl(v4.sin_addr.s_addr));
  }
  if (address.sa_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address, sizeof v6);
    return scope_of_ipv6(v6.sin6_addr);
  }
  return AddressScope::kLinkLocal;
}

bool may_lead_to(AddressScope first, AddressScope next) {
  if (next == AddressScope::kPublic) return true;
  if (next == AddressScope::kLinkLocal) return false;
  // Who is on this machine may send us to its networks, and a server of them to another of theirs.
  return first == next || (first == AddressScope::kLoopback && next == AddressScope::kPrivate);
}

}  // namespace sluice::registry
