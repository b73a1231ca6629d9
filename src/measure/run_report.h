#pragma once

#include <string>
#include <vector>

#include "measure/run.h"

// The article that a load test's figures make: tables, plots and what they say.
namespace sluice::measure {

// One page that needs nothing else: no script, no font, no picture from outside. Readable on a
// phone, light and dark.
std::string html_report(const std::vector<LoadRun>& runs);

// Tables and answers; no plots.
std::string markdown_report(const std::vector<LoadRun>& runs);

// The rows of all runs, with a header line (RFC 4180).
std::string csv_report(const std::vector<LoadRun>& runs);

}  // namespace sluice::measure
