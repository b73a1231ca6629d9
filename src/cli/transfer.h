#pragma once

#include <string>

#include "cli/server_link.h"

namespace sluice::cli {

// Fetches a model through a server and shows how it gets on. Throws Error.
void pull_model(ServerLink& link, const std::string& name, bool insecure,
                const std::string& url = "");

}  // namespace sluice::cli
