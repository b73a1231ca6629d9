#pragma once

#include <string>

#include "registry/options.h"
#include "registry/web_url.h"

namespace sluice::registry {

// The proxy that an address is reached through, by the options and by nothing else; "" for none.
// What is on this machine never goes through one, nor do hosts in no_proxy ("example.org" and
// ".example.org" mean the host and all below it, "*" means all).
std::string proxy_for(const RegistryOptions& options, const WebUrl& url);

}  // namespace sluice::registry
