#pragma once

#include <chrono>

#include "http/client.h"
#include "monitor/arrange.h"

namespace sluice::monitor {

// The live screen on the terminal, refreshed each `interval`, until 'q' or Ctrl-C. A signal
// that ends the program puts the terminal back first. Throws Error(kUnsupported) when standard
// input or output is no terminal that can show it.
void run_screen(const http::Url& url, const std::string& api_key,
                std::chrono::milliseconds interval, Arrangement arrangement = {});

}  // namespace sluice::monitor
