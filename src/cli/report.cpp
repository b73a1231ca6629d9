#include "cli/report.h"

#include <charconv>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/loadtest_runs.h"
#include "cli/terminal.h"
#include "measure/run_report.h"
#include "measure/run_witness.h"

namespace sluice::cli {
namespace {

struct ReportFlags {
  std::vector<std::string> runs;
  std::string path;
};

// "7": a run that was kept; anything else is a file ("./7" too).
std::optional<int64_t> run_id(const std::string& argument) {
  int64_t id = 0;
  const char* const end = argument.data() + argument.size();
  const auto [stop, error] = std::from_chars(argument.data(), end, id);
  if (error != std::errc() || stop != end || id < 0) return std::nullopt;
  return id;
}

ReportSource kept_source(const measure::RunFacts& run) {
  return {"run " + std::to_string(run.id), measure::document_of(run)};
}

std::vector<ReportSource> read_sources(const std::vector<std::string>& arguments) {
  if (arguments.empty()) return {kept_source(open_runs().last())};
  std::vector<ReportSource> sources;
  for (const std::string& argument : arguments) {
    if (const auto id = run_id(argument)) {
      sources.push_back(kept_source(open_runs().get(*id)));
    } else {
      sources.push_back({argument, read_file(argument)});
    }
  }
  return sources;
}

void report(const ReportFlags& flags) {
  if (!flags.path.empty()) check_report_path(flags.path);
  const std::vector<ReportSource> sources = read_sources(flags.runs);
  if (flags.path.empty()) return write_output(report_text(sources, "here.md"));
  write_file(flags.path, report_text(sources, flags.path));
}

std::string documents_text(const std::vector<ReportSource>& sources) {
  if (sources.size() == 1) return sources.front().document;
  std::string text = "[";
  for (const ReportSource& source : sources) {
    if (text.size() > 1) text += ",\n";
    text += source.document;
  }
  return text + "]\n";
}

}  // namespace

void check_report_path(const std::string& path) {
  for (const char* ending : {".html", ".htm", ".md", ".csv", ".json"}) {
    if (path.ends_with(ending)) return;
  }
  throw Error(ErrorCode::kInvalidArgument,
              "a report is written as .html, .md, .csv or .json; '" + path + "' is none of them");
}

std::string report_text(const std::vector<ReportSource>& sources, const std::string& path) {
  check_report_path(path);
  std::vector<measure::LoadRun> runs;
  for (const ReportSource& source : sources) {
    runs.push_back(measure::parse_run(source.document, source.label));
    measure::measure_ceilings(runs.back().machine);
  }
  if (path.ends_with(".md")) return measure::markdown_report(runs);
  if (path.ends_with(".csv")) return measure::csv_report(runs);
  if (path.ends_with(".json")) return documents_text(sources);
  return measure::html_report(runs);
}

void add_report(Command& program) {
  auto flags = std::make_shared<ReportFlags>();
  Command command = program.subcommand(
      "report", "Make an article of load tests: tables, plots, and what they say");
  command.footer(
      "Examples:\n"
      "  sluice report                              the last load test, as Markdown\n"
      "  sluice report -o today.html                the same with plots\n"
      "  sluice report 3 7 -o compared.html         two of `sluice loadtest list`\n"
      "  sluice report before.json 7 -o both.html   a file of `loadtest --json` too");
  command.option("RUN", flags->runs,
                 "Numbers of kept runs (`sluice loadtest list`), or files that `sluice loadtest "
                 "--json` wrote (default: the last run kept); the first is what the others are "
                 "compared with");
  command.option("-o,--output", flags->path,
                 "FILE.html (with plots), .md, .csv or .json (default: Markdown here)");
  command.action([flags] { report(*flags); });
}

}  // namespace sluice::cli
