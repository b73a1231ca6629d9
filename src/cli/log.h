#pragma once

#include <spdlog/common.h>

namespace sluice::cli {

// The program's log, on standard error. Messages are made printable: they name models, files and
// what clients sent.
void start_log(spdlog::level::level_enum level);

}  // namespace sluice::cli
