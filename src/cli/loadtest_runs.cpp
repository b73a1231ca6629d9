#include "cli/loadtest_runs.h"

#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/print.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/settings.h"
#include "cli/terminal.h"

namespace sluice::cli {
namespace {

using database::Database;
using measure::RunBook;
using measure::RunFacts;

void list() {
  std::vector<std::vector<std::string>> rows = {{"RUN", "TEST", "MODEL", "SERVER", "STARTED"}};
  for (const RunFacts& run : open_runs().list()) {
    rows.push_back({std::to_string(run.id), run.test, run.model, run.url,
                    relative_time(format_rfc3339(run.started))});
  }
  print_table(rows);
}

void show(int id, bool is_json) {
  const RunFacts run = open_runs().get(id);
  write_output(is_json ? run.lines + "\n" : printable_lines(run.text));
}

void compare(int before, int after) {
  RunBook runs = open_runs();
  write_output(printable_lines(measure::comparison_text(runs.get(before), runs.get(after))));
}

}  // namespace

RunBook open_runs() {
  const std::string path = expand_home(read_settings().runs_path);
  if (::access(path.c_str(), F_OK) != 0) {
    throw Error(ErrorCode::kNotFound,
                "no load test has been kept in " + path + " yet: run `sluice loadtest` first");
  }
  return RunBook(path, Database::Mode::kExisting);
}

void add_loadtest_runs(Command& loadtest) {
  loadtest.subcommand("list", "Show the runs that were kept").action([] { list(); });

  auto id = std::make_shared<int>(0);
  auto is_json = std::make_shared<bool>(false);
  Command one = loadtest.subcommand("show", "Print a run again");
  one.option("RUN", *id, "Its number").required();
  one.flag("--json", *is_json, "Its lines, as JSON");
  one.action([id, is_json] { show(*id, *is_json); });

  auto before = std::make_shared<int>(0), after = std::make_shared<int>(0);
  Command two =
      loadtest.subcommand("compare", "Two runs side by side, with ratios and their noise");
  two.option("BEFORE", *before, "Number of the first").required();
  two.option("AFTER", *after, "Number of the second").required();
  two.action([before, after] { compare(*before, *after); });
}

}  // namespace sluice::cli
