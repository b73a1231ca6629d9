#pragma once

#include <string>

#include "http/client.h"
#include "measure/run.h"

// What a load test's figures are to be judged by.
namespace sluice::measure {

// By /api/version, /api/show and /api/ps, which Sluice and Ollama have. What a server does not tell
// stays unknown; nothing is thrown for it.
RunModel ask_model(http::Client& client, const std::string& model);

// The file that a server on this machine says its model comes from; "" when it does not say.
std::string ask_model_path(http::Client& client, const std::string& name);

// This machine. `measures_ceilings`: how fast its memory is read, how fast it computes, and how
// fast the file of `model_path` comes from its disk ("": that is not asked), which takes a gigabyte
// and some seconds: not while something else is measured.
RunMachine look_at_this_machine(bool measures_ceilings, const std::string& model_path);
// The same for a run of this machine that was kept without it.
void measure_ceilings(RunMachine& machine);

}  // namespace sluice::measure
