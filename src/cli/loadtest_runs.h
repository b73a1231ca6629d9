#pragma once

#include "measure/run_book.h"

namespace sluice::cli {

// The load tests that were kept. Throws Error(kNotFound) when there is no such file.
measure::RunBook open_runs();

}  // namespace sluice::cli
