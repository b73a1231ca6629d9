#pragma once

#include <chrono>

#include "http/client.h"

namespace sluice::monitor {

// The live screen on the terminal, refreshed each `interval`, until 'q' or Ctrl-C. Throws
// Error(kUnsupported) when standard input or output is no terminal that can show it.
void run_screen(const http::Url& url, std::chrono::milliseconds interval);

}  // namespace sluice::monitor
