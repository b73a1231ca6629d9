#include <atomic>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/print.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/loadtest_view.h"
#include "cli/report.h"
#include "cli/settings.h"
#include "cli/terminal.h"
#include "measure/load_search.h"
#include "measure/loadtest.h"
#include "measure/report.h"
#include "measure/run_book.h"
#include "measure/run_witness.h"
#include "measure/steady.h"
#include "measure/traffic_report.h"
#include "monitor/timeline_recorder.h"

namespace sluice::cli {
namespace {

using namespace measure;

constexpr double kUsualSeconds = 30;  // of a line
constexpr int kLongestReply = 4096;   // tokens; far beyond any story that is asked for

struct LoadtestFlags {
  std::string url;
  std::string model;
  std::string api = "ollama";
  std::string test = "all";
  std::string json_path;
  std::string report_path;
  double timeline_seconds = 0.5;
  bool is_csv = false;
  bool no_warm_up = false;
  double timeout_seconds = 600;
  std::string mix = "sharegpt";
  std::optional<double> duration_seconds;
  double drain_seconds = 60;
  std::vector<int> words;
  std::vector<double> rates, speedups;
  int num_requests = 0;
  int shared_prefix_tokens = 0, num_turns = 1;
  double cancel_rate = 0;
  bool ignore_end = false;
  std::string prompts_path, trace_path, input_tokens, output_tokens;
  std::string goal;
  bool searches = false;
  std::vector<std::string> headers;
  bool keeps_nothing = false;
  std::optional<double> steady_percent;
  std::optional<uint64_t> seed;
  LoadTestOptions options;
  Settings settings;  // read when the command runs
};

std::atomic<bool> g_stop{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

// The first Ctrl-C ends the test and prints what is done; a second one ends the program.
void stop_at_interrupt() {
  struct sigaction action = {};
  action.sa_handler = [](int) { g_stop = true; };
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, nullptr);
}

// Found out before an hour of testing, not after it.
void check_writable(const std::string& path) {
  if (path.empty()) return;
  if (!std::ofstream(path, std::ios::app)) throw io_error("cannot write", path, errno);
}

std::chrono::milliseconds milliseconds_of(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1e3));
}

http::Url url_of(const LoadtestFlags& flags) {
  return http::parse_url(flags.url.empty() ? flags.settings.host : flags.url);
}

Api api_of(const LoadtestFlags& flags) { return measure::api_of(flags.api); }

// "X-Team: blue".
std::map<std::string, std::string> headers_of(const LoadtestFlags& flags) {
  std::map<std::string, std::string> headers;
  for (const std::string& line : flags.headers) {
    const size_t colon = line.find(':');
    const bool is_broken = line.find_first_of("\r\n") != std::string::npos;
    if (colon == 0 || colon == std::string::npos || is_broken || line.find(' ') < colon) {
      throw Error(ErrorCode::kInvalidArgument,
                  "--header should be 'Name: value', not '" + line + "'");
    }
    const size_t begin = line.find_first_not_of(' ', colon + 1);
    headers[line.substr(0, colon)] = begin == std::string::npos ? "" : line.substr(begin);
  }
  return headers;
}

std::string model_of(const LoadtestFlags& flags) {
  if (!flags.model.empty()) return flags.model;
  http::Client client(url_of(flags), {.api_key = flags.settings.api_key});
  return first_model(client, api_of(flags), headers_of(flags));
}

double steady_limit(const LoadtestFlags& flags) { return flags.steady_percent.value_or(0) / 100; }

// The article's tests.
LoadTestOptions make_options(const LoadtestFlags& flags) {
  LoadTestOptions options = flags.options;
  options.url = url_of(flags);
  options.api_key = flags.settings.api_key;
  options.api = api_of(flags);
  options.headers = headers_of(flags);
  options.steady_limit = steady_limit(flags);
  options.warm_up = !flags.no_warm_up;
  options.seed = flags.seed ? *flags.seed : std::random_device{}();
  options.idle_timeout = milliseconds_of(flags.timeout_seconds);
  if (!options.max_tokens) options.max_tokens = kLongestReply;
  std::vector<int> words = flags.words;
  if (words.empty()) words = {25, 50, 100, 200, 400, 800};
  if (flags.test != "input") {
    for (int num_words : words) options.workloads.push_back(output_workload(num_words));
  }
  if (flags.test != "output") options.workloads.push_back(input_workload());
  options.model = model_of(flags);
  return options;
}

bool is_sized(const LoadtestFlags& flags) {
  return !flags.input_tokens.empty() || !flags.output_tokens.empty();
}

TrafficKind kind_of(const LoadtestFlags& flags) {
  if (!flags.trace_path.empty()) return TrafficKind::kTrace;
  if (!flags.prompts_path.empty()) return TrafficKind::kPrompts;
  if (is_sized(flags)) return TrafficKind::kSized;
  return flags.test == "mixed" ? TrafficKind::kMixed : TrafficKind::kStories;
}

LengthSpec length_of(const std::string& text, const char* name) {
  return parse_length(text.empty() ? "128" : text, name);
}

std::vector<Arrivals> arrivals_of(const LoadtestFlags& flags) {
  std::vector<Arrivals> arrivals;
  if (kind_of(flags) == TrafficKind::kTrace) {
    for (double speedup : flags.speedups) arrivals.push_back({.speedup = speedup});
    if (arrivals.empty()) arrivals.push_back({.speedup = 1});
  } else if (!flags.rates.empty()) {
    for (double rate : flags.rates) arrivals.push_back({.rate = rate});
  } else {
    for (int clients : flags.options.concurrency) arrivals.push_back({.num_clients = clients});
  }
  return arrivals;
}

TrafficOptions make_traffic_options(const LoadtestFlags& flags) {
  TrafficOptions options;
  options.url = url_of(flags);
  options.api_key = flags.settings.api_key;
  options.api = api_of(flags);
  options.kind = kind_of(flags);
  options.headers = headers_of(flags);
  if (!flags.prompts_path.empty()) options.prompts = read_prompts(flags.prompts_path);
  if (!flags.trace_path.empty()) {
    options.trace = read_trace(flags.trace_path);
    options.trace_name = flags.trace_path;
  }
  options.input = length_of(flags.input_tokens, "--input-tokens");
  options.output = length_of(flags.output_tokens, "--output-tokens");
  options.mix = flags.mix == "alpaca" ? Mix::kAlpaca : Mix::kShareGpt;
  if (!flags.words.empty()) options.story_words = flags.words.front();
  options.max_tokens = flags.options.max_tokens.value_or(options.max_tokens);
  options.arrivals = arrivals_of(flags);
  const bool is_trace = options.kind == TrafficKind::kTrace;
  options.duration = milliseconds_of(flags.duration_seconds.value_or(is_trace ? 0 : kUsualSeconds));
  options.drain = milliseconds_of(flags.drain_seconds);
  options.num_requests = flags.num_requests;
  options.shared_prefix_tokens = flags.shared_prefix_tokens;
  options.num_turns = flags.num_turns;
  options.cancel_rate = flags.cancel_rate;
  options.seed = flags.seed ? *flags.seed : std::random_device{}();
  options.temperature = flags.options.temperature;
  options.ignore_end = flags.ignore_end;
  options.warm_up = !flags.no_warm_up;
  options.idle_timeout = milliseconds_of(flags.timeout_seconds);
  options.model = model_of(flags);
  return options;
}

std::string json_text(const nlohmann::ordered_json& document) {
  return document.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

// What a document tells beside its figures: the model, the machine (where the server runs on this
// one), and what both did meanwhile.
class Witness {
 public:
  Witness(const LoadtestFlags& flags, const std::string& model)
      : url_(url_of(flags)), api_key_(flags.settings.api_key) {
    if (flags.keeps_nothing && flags.json_path.empty() && flags.report_path.empty()) return;
    is_wanted_ = true;
    measures_ceilings_ = !flags.json_path.empty() || !flags.report_path.empty();
    if (flags.timeline_seconds <= 0) return;
    if (is_here_) {
      http::Client client(url_, {.idle_timeout = kPatience, .api_key = api_key_});
      path_ = ask_model_path(client, model);
    }
    recorder_.emplace(url_, api_key_, milliseconds_of(flags.timeline_seconds), path_);
  }

  nlohmann::json testify(const std::string& model) {
    if (!is_wanted_) return nlohmann::json::object();
    http::Client client(url_, {.idle_timeout = kPatience, .api_key = api_key_});
    nlohmann::json beside = {{"model_facts", to_json(ask_model(client, model))}};
    if (recorder_) beside["timeline"] = timeline_json(recorder_->finish());
    if (is_here_) beside["machine"] = to_json(look_at_this_machine(measures_ceilings_, path_));
    return beside;
  }

 private:
  static constexpr std::chrono::milliseconds kPatience{10'000};

  http::Url url_;
  std::string api_key_;
  bool is_here_ = monitor::is_this_machine(url_.host);
  bool is_wanted_ = false;
  bool measures_ceilings_ = false;
  std::string path_;  // of the model's file, where it is on this machine
  std::optional<monitor::TimelineRecorder> recorder_;
};

void warn(const std::string& text) {
  std::fprintf(stderr, "Warning: %s\n", printable(text).c_str());
}

constexpr const char* kTooMuch =
    "the figures of its single requests take more memory than there is; fewer requests (--count, "
    "--duration, --repeat) take less";

// A run that cannot be kept has been measured all the same.
void keep_run(const LoadtestFlags& flags, const RunFacts& run) {
  if (flags.keeps_nothing || g_stop) return;
  try {
    const std::string path = expand_home(flags.settings.runs_path);
    const int64_t id = RunBook(path, database::Database::Mode::kCreate).add(run);
    std::fprintf(stderr, "Kept as run %lld: sluice loadtest show %lld, sluice report\n",
                 static_cast<long long>(id), static_cast<long long>(id));
    if (run.document.size() > kLargestDocument) {
      warn("the figures of its single requests are not kept: they take " +
           format_bytes(run.document.size()) + ", and at most " + format_bytes(kLargestDocument) +
           " are kept of a run (--json writes them all)");
    }
  } catch (const std::bad_alloc&) {
    warn(std::string("this run is not kept: ") + kTooMuch);
  } catch (const Error& error) {
    warn(std::string("this run is not kept: ") + error.what());
  }
}

void print_results(const LoadtestFlags& flags, const std::string& header,
                   const std::string& table) {
  std::fputs(printable_lines(header).c_str(), flags.is_csv ? stderr : stdout);
  std::fputs((flags.is_csv ? table : printable_lines("\n" + table)).c_str(), stdout);
  std::fflush(stdout);
}

// Of a run whose results are printed already, so that nothing that fails here loses them. `run` has
// no document yet.
void keep_and_write(const LoadtestFlags& flags, RunFacts run,
                    const std::function<nlohmann::ordered_json()>& make_document) {
  bool has_document = true;
  try {
    run.document = json_text(make_document());
  } catch (const std::bad_alloc&) {
    has_document = false;
    warn(std::string("of this run only the table is kept: ") + kTooMuch);
  }
  keep_run(flags, run);
  const bool is_wanted = !flags.json_path.empty() || !flags.report_path.empty();
  if (!has_document && is_wanted) {
    const std::string& path = flags.json_path.empty() ? flags.report_path : flags.json_path;
    throw Error(ErrorCode::kOutOfMemory, path + " is not written: " + kTooMuch);
  }
  if (!flags.json_path.empty()) write_file(flags.json_path, run.document + "\n");
  if (!flags.report_path.empty()) {
    write_file(flags.report_path,
               report_text({{"this run", std::move(run.document)}}, flags.report_path));
  }
}

// Fails when the test was not what it should have been.
void check_ends(const std::vector<const ExchangeRecord*>& failed, size_t num_requests) {
  if (g_stop) throw Error(ErrorCode::kCancelled, "stopped before the end of the load test");
  if (!failed.empty()) {
    throw Error(ErrorCode::kIo, std::to_string(failed.size()) + " of " +
                                    std::to_string(num_requests) +
                                    " requests failed; the first: " + failed.front()->error);
  }
}

void run_waves(const LoadtestFlags& flags) {
  const LoadTestOptions options = make_options(flags);
  Witness witness(flags, options.model);
  LoadtestView view;
  const LoadTestResult result = run_load_test(
      options, g_stop, [&](const LoadTestProgress& progress) { view.show(progress); });
  const std::vector<ReportRow> rows = summarize(result.requests);
  std::string text = table_text(rows, result.requests);
  if (flags.steady_percent) text += "\n" + steady_text(result, steady_limit(flags));
  const std::string header = header_text(options, result);
  print_results(flags, header, flags.is_csv ? table_csv(rows) : text);
  keep_and_write(flags,
                 {.started = result.started_at,
                  .test = flags.test,
                  .model = options.model,
                  .url = options.url.text(),
                  .text = header + "\n" + text,
                  .lines = lines_json(rows)},
                 [&] { return report_document(options, result, witness.testify(options.model)); });
  std::vector<const ExchangeRecord*> failed;
  for (const LoadRecord& request : result.requests) {
    if (!request.error.empty()) failed.push_back(&request);
  }
  check_ends(failed, result.requests.size());
}

// Refusals and requests cut off at the end belong to these tests: they are no failures.
std::vector<const ExchangeRecord*> failures_of(const TrafficResult& result) {
  std::vector<const ExchangeRecord*> failed;
  for (const TrafficPoint& point : result.points) {
    for (const TrafficRecord& request : point.requests) {
      const bool is_expected =
          request.error.empty() || request.was_cancelled || request.is_refused();
      if (!is_expected) failed.push_back(&request);
    }
  }
  return failed;
}

TrafficResult run_as_asked(const LoadtestFlags& flags, const TrafficOptions& options,
                           const std::optional<Goal>& goal) {
  LoadtestView view;
  const auto on_progress = [&](const TrafficProgress& progress) { view.show(progress); };
  if (flags.searches) return search_highest_load(options, *goal, g_stop, on_progress);
  if (!flags.steady_percent) return run_traffic(options, g_stop, on_progress);
  return run_traffic_until_steady(options, steady_limit(flags), g_stop, on_progress);
}

void run_lasting_traffic(const LoadtestFlags& flags) {
  std::optional<Goal> goal;
  if (!flags.goal.empty()) goal = parse_goal(flags.goal);
  const TrafficOptions options = make_traffic_options(flags);
  Witness witness(flags, options.model);
  const TrafficResult result = run_as_asked(flags, options, goal);
  const std::vector<TrafficRow> rows = summarize(result, goal);
  std::string text = traffic_table_text(rows, result, goal);
  if (flags.steady_percent) text += "\n" + steady_text(result, steady_limit(flags));
  if (flags.searches) text += "\n" + search_text(*goal, result);
  const std::string header = traffic_header_text(options, result);
  print_results(flags, header, flags.is_csv ? traffic_table_csv(rows) : text);
  keep_and_write(flags,
                 {.started = result.started_at,
                  .test = std::string(traffic_name(options.kind)),
                  .model = options.model,
                  .url = options.url.text(),
                  .text = header + "\n" + text,
                  .lines = traffic_lines_json(rows)},
                 [&] {
                   return traffic_document(options, result, rows, goal,
                                           witness.testify(options.model));
                 });
  size_t num_requests = 0;
  for (const TrafficPoint& point : result.points) num_requests += point.requests.size();
  check_ends(failures_of(result), num_requests);
}

void check_flags(const LoadtestFlags& flags, bool is_lasting) {
  const auto refuse = [](const char* text) { throw Error(ErrorCode::kInvalidArgument, text); };
  if (!flags.prompts_path.empty() && is_sized(flags)) {
    refuse("--prompts has prompts of their own lengths: leave --input-tokens and --output-tokens");
  }
  const bool is_trace = !flags.trace_path.empty();
  if (is_trace && (!flags.prompts_path.empty() || is_sized(flags))) {
    refuse("--trace has lengths of its own: leave --prompts, --input-tokens and --output-tokens");
  }
  if (is_trace && (!flags.rates.empty() || flags.searches)) {
    refuse("--trace has times of its own: --speedup instead of --rate and --search");
  }
  if (!is_trace && !flags.speedups.empty()) refuse("--speedup needs a --trace");
  if (flags.num_turns > 1 && (is_trace || !flags.rates.empty())) {
    refuse("--turns needs clients that wait for their replies: --requests instead of --rate");
  }
  if (!is_lasting && (flags.num_turns > 1 || flags.shared_prefix_tokens > 0)) {
    refuse(
        "--turns and --shared-prefix need --test mixed (or clients), --prompts or "
        "--input-tokens");
  }
  if (!is_lasting && flags.cancel_rate > 0) {
    refuse("--cancel-rate needs --test mixed (or clients), --prompts, --trace or --input-tokens");
  }
  if (!is_lasting && !flags.rates.empty()) {
    refuse("--rate needs --test mixed (or clients): the other tests send waves");
  }
  if (!is_lasting && !flags.goal.empty()) {
    refuse("--goal needs --test mixed (or clients), --prompts, --trace or --input-tokens");
  }
  if (flags.steady_percent && (flags.searches || flags.options.repeat > 1)) {
    refuse("--repeat-until-steady goes without --search and --repeat");
  }
  if (flags.searches && flags.goal.empty()) {
    refuse("--search needs a --goal, such as 'ttft_p95<500ms,itl_p95<50ms'");
  }
}

void run(const LoadtestFlags& flags) {
  const bool is_lasting = flags.test == "clients" || flags.test == "mixed" ||
                          !flags.prompts_path.empty() || !flags.trace_path.empty() ||
                          is_sized(flags);
  check_flags(flags, is_lasting);
  check_writable(flags.json_path);
  if (!flags.report_path.empty()) check_report_path(flags.report_path);
  check_writable(flags.report_path);
  stop_at_interrupt();
  if (is_lasting) {
    run_lasting_traffic(flags);
  } else {
    run_waves(flags);
  }
}

void add_traffic_flags(Command& command, LoadtestFlags& flags) {
  command
      .option("--rate", flags.rates,
              "Requests a second that arrive at random moments, as 0.5,1,2, instead of "
              "clients that wait for their reply (clients, mixed)")
      .comma_separated()
      .range(1e-3, 1e5);
  command.option("--mix", flags.mix, "Lengths in the mixed test: sharegpt or alpaca (short)")
      .one_of({"sharegpt", "alpaca"})
      .show_default();
  command
      .option("--duration", flags.duration_seconds,
              "Seconds of each line (clients, mixed: 30; of a trace: all)")
      .range(0.1, 1e6);
  command
      .option("--count", flags.num_requests,
              "Requests of each line instead of a duration (clients, mixed)")
      .range(1, 10'000'000);
  command
      .option("--drain", flags.drain_seconds,
              "Seconds that requests may still run after the end (clients, mixed)")
      .range(0.0, 1e6)
      .show_default();
  command.option("--prompts", flags.prompts_path,
                 "File of prompts to send: a line of text or JSON each (\"prompt\", "
                 "\"max_tokens\")");
  command.option("--trace", flags.trace_path,
                 "Traffic to send again: JSON lines with timestamp (ms), input_length, "
                 "output_length, hash_ids (Mooncake's; equal ids are equal blocks of the prompt), "
                 "or CSV with Timestamp (s), Request tokens, Response tokens (BurstGPT's)");
  command
      .option("--speedup", flags.speedups,
              "How many times as fast as the trace was, as 1,2,4: a line each (default 1)")
      .comma_separated()
      .range(1e-3, 1e6);
  command.option("--input-tokens", flags.input_tokens,
                 "Length of made-up prompts: 512, 100-900 or 512~128 (mean~deviation); about a "
                 "token a word");
  command.option("--output-tokens", flags.output_tokens,
                 "Length of replies, in the same forms (see --ignore-end)");
  command
      .option("--shared-prefix", flags.shared_prefix_tokens,
              "Tokens at the beginning of every prompt that all have in common, as a system "
              "prompt; new ones each run")
      .range(0, 1'000'000);
  command
      .option("--turns", flags.num_turns,
              "Chats of so many turns: each request brings along all that its client said and was "
              "told before")
      .range(1, 1000);
  command
      .option("--cancel-rate", flags.cancel_rate,
              "Share of the requests whose client goes away within the first 16 pieces of the "
              "reply, as 0.1; no failures, but counted")
      .range(0.0, 1.0);
  command.option("--goal", flags.goal,
                 "What users are to get: ttft_p95<500ms,itl_p95<50ms (also tpot, e2e; mean, max, "
                 "p99); tells the goodput");
  command.flag("--search", flags.searches,
               "Find the highest rate, or number of clients, that meets the goal, from the first "
               "of --rate or --requests on");
  command.flag("--ignore-end", flags.ignore_end,
               "Ask for replies of full length where the server can (openai: ignore_eos)");
}

}  // namespace

void add_loadtest(Command& program) {
  auto flags = std::make_shared<LoadtestFlags>();
  Command command = program.subcommand(
      "loadtest", "Measure a running server: speed by length of the reply and number of users");
  command.option("URL", flags->url,
                 "Server to test (default: SLUICE_HOST, OLLAMA_HOST, 127.0.0.1:11434)");
  command.option("--model", flags->model, "Model (default: the first the server lists)");
  command
      .option(
          "--api", flags->api,
          "What is asked for: chats of Ollama's or OpenAI's protocol (ollama, openai), OpenAI's "
          "completions, or embeddings")
      .one_of(api_names())
      .show_default();
  command
      .option("--test", flags->test,
              "Waves of requests: output (stories), input (484-word text) or all of both. "
              "Lasting traffic: clients (stories of 128 tokens, each client sends its next "
              "request when its last has ended) or mixed (prompts and replies of many lengths)")
      .one_of({"output", "input", "all", "clients", "mixed"})
      .show_default();
  command
      .option("--requests", flags->options.concurrency, "Requests at a time, or clients, as 1,2,4")
      .comma_separated()
      .range(1, kMaxConcurrency)
      .show_default();
  command
      .option("--words", flags->words,
              "Words to ask for in stories (default 25,50,100,200,400,800; clients: 800)")
      .comma_separated()
      .range(1, 1'000'000);
  command.option("--repeat", flags->options.repeat, "How often each line is measured")
      .range(1, 100'000)
      .show_default();
  command
      .option("--repeat-until-steady", flags->steady_percent,
              "Repeat each line until its tokens/s and TTFT are known to so many percent (95% "
              "confidence; 3 to 20 times)")
      .value_name("PERCENT")
      .value_or("5")
      .range(0.01, 100.0);
  command.option("--seed", flags->seed,
                 "Request i is sampled with SEED + i and gets its own order of the text's "
                 "sentences (default: random)");
  command.flag("--same-prompt", flags->options.same_prompt,
               "Send every request alike (a prefix cache then shows)");
  command.option("--temperature", flags->options.temperature,
                 "Sampling temperature (default: the server's)");
  command
      .option(
          "--max-tokens", flags->options.max_tokens,
          "Longest reply (default 4096: a small model may repeat itself for ever; clients: 128)")
      .range(1, 1'000'000);
  command.option("--timeout", flags->timeout_seconds, "Longest silence of a reply, in seconds")
      .range(0.0, 1e6)
      .show_default();
  command.flag("--no-warm-up", flags->no_warm_up,
               "Do not send a first request that is not counted");
  add_traffic_flags(command, *flags);
  command.option("--json", flags->json_path, "Write every request's raw figures to this file");
  command.option(
      "--report", flags->report_path,
      "Write the article: FILE.html (with plots), .md, .csv or .json; `sluice report` does "
      "it later");
  command
      .option("--timeline", flags->timeline_seconds,
              "Seconds between looks at the server and the machine, for the report (0: none)")
      .range(0.0, 3600.0)
      .show_default();
  command.flag("--csv", flags->is_csv, "Print the table as CSV");
  command
      .option("--header", flags->headers,
              "One more header of each request, 'Name: value' (repeatable); a key goes into "
              "SLUICE_API_KEY")
      .repeatable();
  command.flag("--no-save", flags->keeps_nothing, "Do not keep this run");
  add_loadtest_runs(command);
  command.action([flags, command] {
    if (command.has_subcommand()) return;
    flags->settings = read_settings();
    run(*flags);
  });
}

}  // namespace sluice::cli
