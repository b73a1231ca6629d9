#pragma once

struct sockaddr;

namespace sluice::registry {

// How near an address is; the nearer, the less may a stranger send us there.
enum class AddressScope { kPublic, kPrivate, kLoopback, kLinkLocal };

// Of an IPv4 or IPv6 address; IPv4 inside IPv6 counts as IPv4. Other families are kLinkLocal.
AddressScope scope_of(const sockaddr& address);

// May a server at `first` send us to `next`? To where it is itself, and to what is public.
bool may_lead_to(AddressScope first, AddressScope next);

}  // namespace sluice::registry
