#include "measure/run_book.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/print.h"
#include "base/units.h"
#include "measure/distribution.h"
#include "measure/steady.h"
#include "measure/told.h"

namespace sluice::measure {
namespace {

using database::Database;
using database::Statement;
using database::Transaction;
using nlohmann::json;

constexpr int kLayout = 2;
constexpr const char* kTables = R"(
  CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    started INTEGER NOT NULL,
    test TEXT NOT NULL,
    model TEXT NOT NULL,
    url TEXT NOT NULL,
    text TEXT NOT NULL,
    lines TEXT NOT NULL);
)";
// Since layout 2.
constexpr const char* kDocuments = R"(
  CREATE TABLE documents (
    run INTEGER PRIMARY KEY,
    size INTEGER NOT NULL,
    document TEXT NOT NULL);
)";

RunFacts read_facts(const Statement& row) {
  RunFacts run;
  run.id = row.integer(0);
  run.started = std::chrono::system_clock::from_time_t(row.integer(1));
  run.test = row.text(2);
  run.model = row.text(3);
  run.url = row.text(4);
  return run;
}

std::string load_of(const json& line) {
  if (const double rate = told_number(line, "rate", kNone); !std::isnan(rate)) {
    return print("%g requests/s", rate);
  }
  if (const double clients = told_number(line, "clients", kNone); !std::isnan(clients)) {
    return print("%g client%s", clients, clients == 1 ? "" : "s");
  }
  if (const double speedup = told_number(line, "speedup", kNone); !std::isnan(speedup)) {
    return print("the trace, speed x%g", speedup);
  }
  const auto test = line.find("test");
  return print("%s, %g words, %g at a time",
               test != line.end() && test->is_string() ? test->get<std::string>().c_str() : "?",
               told_number(line, "words", kNone), told_number(line, "requests_at_a_time", kNone));
}

struct Figure {
  const char* name;
  const char* member;  // a distribution, or else a number
  double unit;         // of the text, in the member's
};

// Lines have those of their own test.
constexpr Figure kFigures[] = {
    {"tokens/s in all", "tokens_per_second", 1},
    {"tokens/s in all", "tokens_per_second_in_all", 1},
    {"requests/s", "completed_per_second", 1},
    {"end to end, s", "e2e_seconds", 1},
    {"first token (TTFT), ms", "ttft_seconds", 1e-3},
    {"a reply's mean ITL, ms", "reply_itl_seconds", 1e-3},
    {"tokens/s of a reply", "reply_tokens_per_second", 1},
};

struct Estimate {
  double value = kNone;
  double relative_error = kNone;  // the mean's standard error over it
};

std::optional<Estimate> line_estimate(const json& line, const char* member) {
  const auto found = line.find(member);
  if (found == line.end()) return std::nullopt;
  if (found->is_number()) return Estimate{found->get<double>(), kNone};
  if (!found->is_object()) return std::nullopt;
  const double mean = told_number(*found, "mean", kNone);
  if (std::isnan(mean)) return std::nullopt;
  return Estimate{mean, told_number(*found, "deviation", kNone) /
                            std::sqrt(told_number(*found, "count", kNone)) / mean};
}

constexpr double kNormal95 = 1.96;

// Of a load that was repeated: the mean of its lines, which scatter as it does.
std::optional<Estimate> estimate_of(const std::vector<json>& lines, const char* member) {
  std::vector<double> values;
  for (const json& line : lines) {
    const auto one = line_estimate(line, member);
    if (one && lines.size() == 1) return one;
    if (one) values.push_back(one->value);
  }
  if (values.empty()) return std::nullopt;
  const MeanEstimate mean = estimate_mean(values);
  return Estimate{mean.mean, values.size() > 1 ? mean.error / kNormal95 : kNone};
}

// Lines by their loads, in the order of the first of each.
using Loads = std::vector<std::pair<std::string, std::vector<json>>>;

Loads by_load(const json& lines) {
  Loads loads;
  for (const json& line : lines) {
    const std::string load = load_of(line);
    const auto found = std::find_if(loads.begin(), loads.end(),
                                    [&](const auto& one) { return one.first == load; });
    if (found != loads.end()) {
      found->second.push_back(line);
    } else {
      loads.emplace_back(load, std::vector<json>{line});
    }
  }
  return loads;
}

json lines_of(const RunFacts& run) {
  json lines = json::parse(run.lines, nullptr, /*allow_exceptions=*/false);
  const bool is_list =
      lines.is_array() &&
      std::all_of(lines.begin(), lines.end(), [](const json& line) { return line.is_object(); });
  if (!is_list) {
    throw Error(ErrorCode::kCorruptData,
                "the figures of run " + std::to_string(run.id) + " cannot be read");
  }
  return lines;
}

void compare_lines(const std::string& load, const std::vector<json>& before,
                   const std::vector<json>& after, std::vector<Comparison>& comparisons) {
  for (const Figure& figure : kFigures) {
    const auto first = estimate_of(before, figure.member);
    const auto second = estimate_of(after, figure.member);
    if (!first || !second || first->value == 0) continue;
    const double ratio = second->value / first->value;
    const double noise =
        kNormal95 * ratio * std::hypot(first->relative_error, second->relative_error);
    comparisons.push_back(
        {load, figure.name, first->value / figure.unit, second->value / figure.unit, ratio, noise});
  }
}

}  // namespace

std::string document_of(const RunFacts& run) {
  if (!run.document.empty()) return run.document;
  const json lines = lines_of(run);
  const bool are_waves = !lines.empty() && lines.front().contains("requests_at_a_time");
  const json document = {{"program", "sluice loadtest"},
                         {"test", run.test},
                         {"model", run.model},
                         {"url", run.url},
                         {"started_at", format_rfc3339(run.started)},
                         {are_waves ? "rows" : "points", lines}};
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

RunBook::RunBook(const std::string& path, Database::Mode mode) : database_(path, mode) {
  if (database_.layout_version() == kLayout) return;
  Transaction transaction(database_);
  const int layout = database_.layout_version();  // another process may have been faster
  if (layout > kLayout) {
    throw Error(ErrorCode::kCorruptData,
                "the runs in " + path +
                    " are of a later version of sluice than this one; use that, or another file "
                    "(SLUICE_RUNS)");
  }
  if (layout == 0) database_.execute(kTables);
  if (layout < kLayout) {
    database_.execute(kDocuments);
    database_.set_layout_version(kLayout);
  }
  transaction.commit();
}

int64_t RunBook::add(const RunFacts& run) {
  Transaction transaction(database_);
  Statement insert = database_.prepare(
      "INSERT INTO runs (started, test, model, url, text, lines) VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
      "RETURNING id");
  insert.bind(1, int64_t{std::chrono::system_clock::to_time_t(run.started)}).bind(2, run.test);
  insert.bind(3, run.model).bind(4, run.url).bind(5, run.text).bind(6, run.lines);
  insert.next();
  const int64_t id = insert.integer(0);
  while (insert.next()) {
  }
  Statement forget = database_.prepare(
      "DELETE FROM runs WHERE id NOT IN (SELECT id FROM runs ORDER BY id DESC LIMIT ?1)");
  forget.bind(1, int64_t{kMostRuns});
  forget.run();
  keep_document(id, run.document);
  transaction.commit();
  return id;
}

void RunBook::keep_document(int64_t id, const std::string& document) {
  const auto size = static_cast<int64_t>(document.size());
  if (size > 0 && size <= kLargestDocument) {
    Statement insert =
        database_.prepare("INSERT INTO documents (run, size, document) VALUES (?1, ?2, ?3)");
    insert.bind(1, id).bind(2, size).bind(3, document);
    insert.run();
  }
  Statement forget = database_.prepare(
      "DELETE FROM documents WHERE run NOT IN (SELECT id FROM runs) OR run IN (SELECT run FROM "
      "(SELECT run, SUM(size) OVER (ORDER BY run DESC) AS newer FROM documents) WHERE newer > ?1)");
  forget.bind(1, kMostDocumentBytes);
  forget.run();
}

std::vector<RunFacts> RunBook::list() {
  std::vector<RunFacts> runs;
  Statement rows =
      database_.prepare("SELECT id, started, test, model, url FROM runs ORDER BY id DESC");
  while (rows.next()) runs.push_back(read_facts(rows));
  return runs;
}

RunFacts RunBook::get(int64_t id) {
  Statement row = database_.prepare(
      "SELECT id, started, test, model, url, text, lines, document FROM runs "
      "LEFT JOIN documents ON run = id WHERE id = ?1");
  row.bind(1, id);
  if (!row.next()) {
    throw Error(ErrorCode::kNotFound, "there is no run " + std::to_string(id) +
                                          "; `sluice loadtest list` shows those that there are");
  }
  RunFacts run = read_facts(row);
  run.text = row.text(5);
  run.lines = row.text(6);
  run.document = row.text(7);
  return run;
}

RunFacts RunBook::last() {
  Statement row = database_.prepare("SELECT COALESCE(MAX(id), 0) FROM runs");
  row.next();
  if (row.integer(0) == 0) {
    throw Error(ErrorCode::kNotFound, "no load test has been kept yet: run `sluice loadtest`");
  }
  return get(row.integer(0));
}

bool Comparison::is_beyond_noise() const { return std::abs(ratio - 1) > noise; }

std::vector<Comparison> compare_runs(const RunFacts& before, const RunFacts& after) {
  const Loads others = by_load(lines_of(after));
  std::vector<Comparison> comparisons;
  for (const auto& [load, lines] : by_load(lines_of(before))) {
    for (const auto& [other_load, other_lines] : others) {
      if (other_load == load) compare_lines(load, lines, other_lines, comparisons);
    }
  }
  return comparisons;
}

std::string comparison_text(const RunFacts& before, const RunFacts& after) {
  const std::vector<Comparison> comparisons = compare_runs(before, after);
  if (comparisons.empty()) return "The two runs have no load in common.\n";
  std::string text, load;
  for (const Comparison& one : comparisons) {
    if (one.load != load) {
      load = one.load;
      text += print("%s%-28s%12s%12s%9s\n", text.empty() ? "" : "\n", load.c_str(),
                    ("run " + std::to_string(before.id)).c_str(),
                    ("run " + std::to_string(after.id)).c_str(), "ratio");
    }
    text += print("  %-26s%12.4g%12.4g%9.3f", one.figure.c_str(), one.before, one.after, one.ratio);
    if (!std::isnan(one.noise)) {
      text += print(" +- %.3f%s", one.noise, one.is_beyond_noise() ? "" : "  (within the noise)");
    }
    text += "\n";
  }
  return text +
         "\nNoise: what chance alone makes of the ratio in 19 of 20 cases, by the scatter of "
         "the requests, or of the repeats.\n";
}

}  // namespace sluice::measure
