#pragma once

#include <string>

#include "monitor/view.h"

namespace sluice::monitor {

// The view as one line of JSON for programs: {"url", "server": {...} or null, "requests": [...],
// "machine": {...}, "process": {...} or null, "gpus": [...]}. Shares are 0 to 1 (of a process or a
// thread: 1 is one core), memory is in bytes.
std::string view_json(const View& view);

}  // namespace sluice::monitor
