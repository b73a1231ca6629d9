#pragma once

#include "cli/settings.h"
#include "server/server.h"

namespace sluice::cli {

// What a server in this process is made with, whichever command starts it: all but where it
// listens.
server::ServerOptions server_options(const Settings& settings);
registry::RegistryOptions registry_options(const Settings& settings);

}  // namespace sluice::cli
