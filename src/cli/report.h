#pragma once

#include <string>
#include <vector>

namespace sluice::cli {

// What a load test wrote (measure/run.h), and what to call it.
struct ReportSource {
  std::string label;
  std::string document;
};

// Throws Error(kInvalidArgument) unless the name ends in .html, .htm, .md, .csv or .json.
void check_report_path(const std::string& path);

// The report in the form that the file's name asks for; .json is the document itself, or a list of
// them. Throws as check_report_path() and measure::parse_run() do.
std::string report_text(const std::vector<ReportSource>& sources, const std::string& path);

}  // namespace sluice::cli
