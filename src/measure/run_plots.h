#pragma once

#include <string>
#include <vector>

#include "measure/run.h"

// Plots of runs, as SVG.
namespace sluice::measure {

struct ReportFigure {
  std::string title;
  std::string caption;
  std::string picture;  // SVG, and its legend
};

// Of one run; those for which it has no figures are left out.
std::vector<ReportFigure> run_figures(const LoadRun& run);

}  // namespace sluice::measure
