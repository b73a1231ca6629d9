#pragma once

#include <string>

#include "api/json.h"

namespace sluice::cli {

// The blocks that `show` prints, from the reply of /api/show: Model, Capabilities, Parameters,
// System, License; with `verbose` also Metadata and Tensors. Indented by two spaces.
std::string show_text(const api::Json& reply, bool verbose);

// A line for each tensor with its type and shape, then how many there are of each type.
std::string tensors_text(const api::Json& reply);

}  // namespace sluice::cli
