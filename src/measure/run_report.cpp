#include "measure/run_report.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "base/print.h"
#include "base/units.h"
#include "measure/plot.h"
#include "measure/run_answers.h"
#include "measure/run_plots.h"

namespace sluice::measure {
namespace {

constexpr std::string_view kStyle = R"css(
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6570;--rule:#d6dbe0;--paper:#fff;--tint:#f4f6f8;
--c0:#0b62c4;--c1:#c2541b;--c2:#1d7d4f;--c3:#8a3ca8;--c4:#9a6b00;--c5:#5f6b7a;--bound:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9aa5b1;--rule:#39414a;--paper:#14181c;--tint:#1d2329;
--c0:#6cb0ff;--c1:#ff9d66;--c2:#5fd39a;--c3:#d59cf0;--c4:#e8c15a;--c5:#a9b4c0;--bound:#ff8a80}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem 1rem 4rem;max-width:62rem;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,sans-serif}
h1{font-size:1.7rem;line-height:1.2;margin:.5rem 0}h2{font-size:1.25rem;margin:2.2rem 0 .6rem}
h3{font-size:1rem;margin:1.2rem 0 .2rem}p{margin:.3rem 0 .8rem;max-width:44rem}
.soft,figcaption{color:var(--soft)}figcaption{font-size:.85rem}
.key{display:flex;flex-wrap:wrap;gap:.8rem;margin:1rem 0;padding:0;list-style:none}
.key li{background:var(--tint);border-radius:.5rem;padding:.6rem 1rem;min-width:8rem}
.key b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}
.table{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.3rem .8rem .3rem 0;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th{color:var(--soft);font-weight:600}th:first-child,td:first-child{text-align:left}
.facts td{text-align:left;white-space:normal}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(26rem,100%),1fr));gap:1.6rem}
figure{margin:0}svg{width:100%;height:auto;display:block}
svg text{font:12px system-ui,sans-serif;fill:var(--soft)}
.legend{display:flex;flex-wrap:wrap;gap:.1rem .9rem;margin:0 0 .2rem;padding:0;list-style:none;font-size:.8rem;color:var(--soft)}
.legend i{display:inline-block;width:.65rem;height:.65rem;margin-right:.35rem}
.legend .area-0{background:var(--c0)}.legend .area-1{background:var(--c1)}.legend .area-2{background:var(--c2)}
.legend .area-3{background:var(--c3)}.legend .area-4{background:var(--c4)}.legend .area-5{background:var(--c5)}
details{margin:.6rem 0}summary{cursor:pointer;color:var(--soft)}
code{font-family:ui-monospace,monospace;font-size:.92em}.axis{stroke:var(--soft);fill:none}
.grid{stroke:var(--rule);fill:none}.bound{stroke:var(--bound);stroke-dasharray:6 4;fill:none}
svg .bound-label{fill:var(--bound);paint-order:stroke;stroke:var(--paper);stroke-width:3px}
.line-0{stroke:var(--c0)}.line-1{stroke:var(--c1)}.line-2{stroke:var(--c2)}.line-3{stroke:var(--c3)}
.line-4{stroke:var(--c4)}.line-5{stroke:var(--c5)}
[class^=line-]{fill:none;stroke-width:2}
.heat{fill:var(--c0)}
.dot-0,.area-0{fill:var(--c0)}.dot-1,.area-1{fill:var(--c1)}.dot-2,.area-2{fill:var(--c2)}
.dot-3,.area-3{fill:var(--c3)}.dot-4,.area-4{fill:var(--c4)}.dot-5,.area-5{fill:var(--c5)}
.span-load{fill:var(--c4);opacity:.16}.span-prefill{fill:var(--c1);opacity:.14}.span-decode{fill:var(--c0);opacity:.08}
)css";

constexpr std::string_view kPhases =
    "Behind the curves over time: yellow while a model was loaded, orange while mostly prompts "
    "were "
    "computed, blue while replies were written.";

std::string figure_text(double value, int digits) {
  return std::isnan(value) ? "-" : print("%.*f", digits, value);
}

std::string users_text(const RunRow& row) {
  if (row.speedup > 0) return print("x%g", row.speedup);
  return row.rate > 0 ? print("%g/s", row.rate) : std::to_string(row.users);
}

// "2026-11-30 10:55 UTC" of RFC 3339; anything else as it is.
std::string minute_text(const std::string& time) {
  constexpr size_t kMinutes = sizeof("2026-11-30T10:55") - 1;
  if (time.size() <= kMinutes || !time.ends_with('Z')) return time;
  return time.substr(0, 10) + " " + time.substr(11, 5) + " UTC";
}

// "for 4 users together", "at 3 requests a second".
std::string load_text(const RunRow& row) {
  if (row.speedup > 0) return print("at %g times the trace's speed", row.speedup);
  if (row.rate > 0) return print("at %g requests a second", row.rate);
  return print("for %d user%s", row.users, row.users == 1 ? "" : "s together");
}

using Cells = std::vector<std::string>;

const Cells& row_titles() {
  static const Cells titles = {"test",    "users",         "replies", "tokens each",
                               "seconds", "tokens/s each", "in all",  "TTFT, ms",
                               "p95",     "ITL, ms",       "p95",     "failed"};
  return titles;
}

Cells row_cells(const RunRow& row) {
  return {
      row.test + (row.words > 0 ? print(", %d words", row.words) : ""),
      users_text(row),
      std::to_string(row.num_completed),
      figure_text(row.mean_output_tokens, 1),
      figure_text(row.mean_seconds, 2),
      figure_text(row.tokens_per_second_each, 1),
      figure_text(row.tokens_per_second, 1),
      figure_text(row.ttft_seconds * 1e3, 0),
      figure_text(row.ttft_p95_seconds * 1e3, 0),
      figure_text(row.itl_seconds * 1e3, 1),
      figure_text(row.itl_p95_seconds * 1e3, 1),
      row.num_failed + row.num_refused > 0 ? std::to_string(row.num_failed + row.num_refused) : ""};
}

// With titles; without columns that say nothing of any row.
std::vector<Cells> row_table(const LoadRun& run) {
  std::vector<Cells> whole = {row_titles()};
  for (const RunRow& row : run.rows) whole.push_back(row_cells(row));
  std::vector<Cells> table(whole.size());
  for (size_t column = 0; column < whole.front().size(); ++column) {
    const bool is_needed = std::any_of(whole.begin() + 1, whole.end(), [&](const Cells& cells) {
      return !cells[column].empty() && cells[column] != "-";
    });
    for (size_t i = 0; is_needed && i < whole.size(); ++i) table[i].push_back(whole[i][column]);
  }
  return table;
}

// Names and values of what was tested, where it is known.
std::vector<std::pair<std::string, std::string>> fact_rows(const LoadRun& run) {
  const RunModel& model = run.facts;
  const RunMachine& machine = run.machine;
  std::vector<std::pair<std::string, std::string>> rows = {
      {"Model", run.model + (model.parameter_size.empty() ? "" : ", " + model.parameter_size) +
                    (model.quantization.empty() ? "" : ", " + model.quantization)},
      {"Server",
       (model.server.empty() ? "" : model.server + " at ") + run.url + " (" + run.api + " API)"},
      {"Runs on", model.backend},
      {"Processor",
       machine.processor.empty() ? "" : machine.processor + print(", %d cores", machine.cores)},
      {"Memory", machine.memory_bytes > 0
                     ? format_bytes(static_cast<uint64_t>(std::min(machine.memory_bytes, 1e18))) +
                           (machine.read_bytes_per_second > 0
                                ? print(", read at %.1f GB/s", machine.read_bytes_per_second / 1e9)
                                : "")
                     : ""},
  };
  for (const std::string& gpu : machine.gpus) rows.emplace_back("GPU", gpu);
  rows.emplace_back(
      "Tested", minute_text(run.started_at) + (run.was_stopped ? ", stopped before its end" : ""));
  std::erase_if(rows, [](const auto& row) { return row.second.empty(); });
  return rows;
}

// --- HTML ---

std::string html_row(const Cells& cells, const char* tag) {
  std::string html = "<tr>";
  for (const std::string& text : cells) {
    html += print("<%s>", tag) + escape_html(text) + print("</%s>", tag);
  }
  return html + "</tr>\n";
}

std::string html_table(const LoadRun& run) {
  const std::vector<Cells> table = row_table(run);
  std::string html = "<div class=\"table\" tabindex=\"0\"><table>" + html_row(table.front(), "th");
  for (size_t i = 1; i < table.size(); ++i) html += html_row(table[i], "td");
  return html + "</table></div>\n";
}

std::string html_facts(const LoadRun& run) {
  std::string html = "<div class=\"table facts\"><table>";
  for (const auto& [name, value] : fact_rows(run)) html += html_row({name, value}, "td");
  return html + "</table></div>\n";
}

std::vector<Cells> tensor_table(const LoadRun& run) {
  std::vector<Cells> table = {{"tensors", "type", "layers", "size"}};
  for (const RunTensors& line : run.facts.tensors) {
    const double bytes = std::clamp(line.bytes, 0.0, 1e18);
    table.push_back({line.name, line.type, std::to_string(line.count),
                     format_bytes(static_cast<uint64_t>(bytes))});
  }
  return table;
}

std::string html_tensors(const LoadRun& run) {
  const std::vector<Cells> table = tensor_table(run);
  if (table.size() < 2) return "";
  std::string html =
      "<details><summary>Tensor by tensor</summary><div class=\"table\" tabindex=\"0\">"
      "<table>" +
      html_row(table.front(), "th");
  for (size_t i = 1; i < table.size(); ++i) html += html_row(table[i], "td");
  return html + "</table></div></details>\n";
}

std::string key_figure(const std::string& value, const std::string& meaning) {
  return "<li><b>" + escape_html(value) + "</b>" + escape_html(meaning) + "</li>";
}

std::string key_figures(const LoadRun& run) {
  const RunRow* alone = nullptr;
  const RunRow* fastest = nullptr;
  for (const RunRow& row : run.rows) {
    if (std::isnan(row.tokens_per_second) || row.test == "input") continue;
    const bool is_alone = row.users == 1 && row.rate == 0;
    if (is_alone && (alone == nullptr || row.mean_output_tokens > alone->mean_output_tokens)) {
      alone = &row;
    }
    if (fastest == nullptr || row.tokens_per_second > fastest->tokens_per_second) fastest = &row;
  }
  std::string html = "<ul class=\"key\">";
  if (alone != nullptr) {
    html += key_figure(figure_text(alone->tokens_per_second_each, 1), "tokens/s for one user") +
            key_figure(figure_text(alone->ttft_seconds * 1e3, 0) + " ms", "to the first token");
  }
  if (fastest != nullptr && fastest != alone) {
    html +=
        key_figure(figure_text(fastest->tokens_per_second, 1), "tokens/s " + load_text(*fastest));
  }
  if (alone != nullptr && decode_bound(run) > 0) {
    const double speed = decode_speed(run, static_cast<int>(alone - run.rows.data()));
    html += key_figure(figure_text(100 * speed / decode_bound(run), 0) + "%",
                       "of what the memory allows one user");
  }
  return html + "</ul>\n";
}

// What stands in backticks is code.
std::string html_line(const std::string& line) {
  std::string html;
  bool is_code = false;
  std::istringstream parts(line);
  for (std::string part; std::getline(parts, part, '`'); is_code = !is_code) {
    html += is_code ? "<code>" + escape_html(part) + "</code>" : escape_html(part);
  }
  return html;
}

std::string html_paragraphs(const std::string& text) {
  std::string html;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) html += "<p>" + html_line(line) + "</p>";
  return html;
}

std::string html_run(const LoadRun& run) {
  std::string html = key_figures(run) + html_facts(run) + html_tensors(run) +
                     "<h2>The figures</h2>\n" + html_table(run);
  html += "<h2>What they say</h2>\n";
  for (const Answer& one : answer(run)) {
    html += "<h3>" + escape_html(one.question) + "</h3>" + html_paragraphs(one.text) + "\n";
  }
  html += "<h2>Plots</h2>\n";
  if (!run.timeline.empty()) html += "<p class=\"soft\">" + std::string(kPhases) + "</p>\n";
  html += "<div class=\"figures\">\n";
  for (const ReportFigure& figure : run_figures(run)) {
    html += "<figure><h3>" + escape_html(figure.title) + "</h3>" + figure.picture + "<figcaption>" +
            escape_html(figure.caption) + "</figcaption></figure>\n";
  }
  return html + "</div>\n";
}

// --- runs beside each other ---

std::string ratio_text(double now, double before) {
  const double value = now / before;
  return std::isnan(value) || std::isinf(value) ? "-" : print("%.2f", value);
}

bool is_same_row(const RunRow& a, const RunRow& b) {
  return a.test == b.test && a.words == b.words && a.users == b.users && a.rate == b.rate &&
         a.speedup == b.speedup;
}

// Each row of the first run that another has, too.
std::vector<Cells> comparison(const std::vector<LoadRun>& runs) {
  std::vector<Cells> table = {{"test", "users", "run", "tokens/s each", "to the first run",
                               "in all", "to the first run", "TTFT, ms", "to the first run"}};
  for (const RunRow& first : runs.front().rows) {
    for (size_t i = 1; i < runs.size(); ++i) {
      for (const RunRow& row : runs[i].rows) {
        if (!is_same_row(first, row)) continue;
        table.push_back({row_cells(row)[0], users_text(row), runs[i].label,
                         figure_text(row.tokens_per_second_each, 1),
                         ratio_text(row.tokens_per_second_each, first.tokens_per_second_each),
                         figure_text(row.tokens_per_second, 1),
                         ratio_text(row.tokens_per_second, first.tokens_per_second),
                         figure_text(row.ttft_seconds * 1e3, 0),
                         ratio_text(row.ttft_seconds, first.ttft_seconds)});
      }
    }
  }
  return table;
}

std::string title_of(const std::vector<LoadRun>& runs) {
  return runs.size() == 1 ? "How fast is " + runs.front().model + "?"
                          : print("%zu load tests", runs.size());
}

// --- Markdown ---

std::string markdown_text(std::string_view text) {
  std::string safe;
  for (const char c : printable(text)) {
    if (c == '|' || c == '<' || c == '*' || c == '[') safe += '\\';
    safe += c;
  }
  return safe;
}

std::string markdown_table(const std::vector<Cells>& table) {
  std::string markdown;
  for (size_t i = 0; i < table.size(); ++i) {
    for (const std::string& text : table[i]) markdown += "| " + markdown_text(text) + " ";
    markdown += "|\n";
    if (i > 0) continue;
    for (size_t j = 0; j < table[i].size(); ++j) markdown += j == 0 ? "|---" : "|--:";
    markdown += "|\n";
  }
  return markdown + "\n";
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

std::string csv_number(double value) { return std::isnan(value) ? "" : print("%.6g", value); }

}  // namespace

std::string html_report(const std::vector<LoadRun>& runs) {
  std::string html =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>" +
      escape_html(title_of(runs)) + "</title><style>" + std::string(kStyle) +
      "</style></head><body><main>\n<h1>" + escape_html(title_of(runs)) + "</h1>\n";
  if (runs.size() > 1) {
    const std::vector<Cells> table = comparison(runs);
    html += "<p>The first is " + escape_html(runs.front().label) + ".</p>";
    html += "<div class=\"table\" tabindex=\"0\"><table>" + html_row(table.front(), "th");
    for (size_t i = 1; i < table.size(); ++i) html += html_row(table[i], "td");
    html += "</table></div>\n";
  }
  for (const LoadRun& run : runs) {
    if (runs.size() > 1) {
      html += "<h2>" + escape_html(run.label) + ": " + escape_html(run.model) + "</h2>\n";
    }
    html += html_run(run);
  }
  return html +
         "<p class=\"soft\">Written by <code>sluice report</code>.</p></main></body></html>\n";
}

std::string markdown_report(const std::vector<LoadRun>& runs) {
  std::string markdown = "# " + markdown_text(title_of(runs)) + "\n\n";
  if (runs.size() > 1) markdown += markdown_table(comparison(runs));
  for (const LoadRun& run : runs) {
    if (runs.size() > 1) markdown += "## " + markdown_text(run.label) + "\n\n";
    for (const auto& [name, value] : fact_rows(run)) {
      markdown += "- " + name + ": " + markdown_text(value) + "\n";
    }
    markdown += "\n" + markdown_table(row_table(run));
    const std::vector<Cells> tensors = tensor_table(run);
    if (tensors.size() > 1) markdown += markdown_table(tensors);
    for (const Answer& one : answer(run)) {
      markdown += "**" + one.question + "** ";
      std::istringstream lines(one.text);
      for (std::string line; std::getline(lines, line);) markdown += markdown_text(line) + "\n\n";
    }
  }
  return markdown;
}

std::string csv_report(const std::vector<LoadRun>& runs) {
  std::string csv =
      "run,model,test,words,users,rate,speedup,num_completed,num_failed,num_refused,mean_output_"
      "tokens,"
      "mean_seconds,tokens_per_second_each,tokens_per_second,ttft_seconds,ttft_p95_seconds,"
      "itl_seconds,itl_p95_seconds\r\n";
  for (const LoadRun& run : runs) {
    for (const RunRow& row : run.rows) {
      csv += csv_field(run.label) + "," + csv_field(run.model) + "," + csv_field(row.test) +
             print(",%d,%d,%g,%g,%d,%d,%d", row.words, row.users, row.rate, row.speedup,
                   row.num_completed, row.num_failed, row.num_refused);
      for (const double value :
           {row.mean_output_tokens, row.mean_seconds, row.tokens_per_second_each,
            row.tokens_per_second, row.ttft_seconds, row.ttft_p95_seconds, row.itl_seconds,
            row.itl_p95_seconds}) {
        csv += "," + csv_number(value);
      }
      csv += "\r\n";
    }
  }
  return csv;
}

}  // namespace sluice::measure
