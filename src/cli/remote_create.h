#pragma once

#include "cli/server_link.h"
#include "convert/create.h"

namespace sluice::cli {

// Makes a model on a server, perhaps another machine's: sends the files that it lacks, by their
// digests, then asks for the model, and shows how both get on. Throws Error.
void create_on_server(ServerLink& link, const convert::ModelRecipe& request);

}  // namespace sluice::cli
