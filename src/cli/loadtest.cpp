#include "measure/loadtest.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/print.h"
#include "cli/commands.h"
#include "cli/settings.h"
#include "measure/report.h"
#include "measure/traffic_report.h"

namespace sluice::cli {
namespace {

using namespace measure;

struct LoadtestFlags {
  std::string url;
  std::string model;
  std::string api = "ollama";
  std::string test = "all";
  std::string json_path;
  bool is_csv = false;
  bool no_warm_up = false;
  double timeout_seconds = 600;
  std::string mix = "sharegpt";
  double duration_seconds = 30;
  double drain_seconds = 60;
  std::vector<int> words;
  std::vector<double> rates;
  int num_requests = 0;
  bool ignore_end = false;
  std::optional<uint64_t> seed;
  LoadTestOptions options;
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

// Live on one line of a terminal; into a file or a pipe, one line for each point.
template <typename Progress>
void show_progress(const Progress& progress) {
  const std::string text = progress_text(progress);
  if (isatty(STDERR_FILENO) != 0) {
    std::fprintf(stderr, "\r\033[K%s%s", text.c_str(), progress.is_last ? "\n" : "");
  } else if (progress.is_last) {
    std::fprintf(stderr, "%s\n", text.c_str());
  }
}

// Found out before an hour of testing, not after it.
void check_writable(const std::string& path) {
  if (path.empty()) return;
  if (!std::ofstream(path, std::ios::app)) throw io_error("cannot write", path, errno);
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
  file.flush();
  if (!file) throw io_error("cannot write", path, errno);
}

std::chrono::milliseconds milliseconds_of(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1e3));
}

http::Url url_of(const LoadtestFlags& flags) {
  return http::parse_url(flags.url.empty() ? read_settings().host : flags.url);
}

Api api_of(const LoadtestFlags& flags) {
  return flags.api == "openai" ? Api::kOpenai : Api::kOllama;
}

std::string model_of(const LoadtestFlags& flags) {
  if (!flags.model.empty()) return flags.model;
  http::Client client(url_of(flags));
  return first_model(client, api_of(flags));
}

// The article's tests.
LoadTestOptions make_options(const LoadtestFlags& flags) {
  LoadTestOptions options = flags.options;
  options.url = url_of(flags);
  options.api = api_of(flags);
  options.warm_up = !flags.no_warm_up;
  options.seed = flags.seed ? *flags.seed : std::random_device{}();
  options.idle_timeout = milliseconds_of(flags.timeout_seconds);
  std::vector<int> words = flags.words;
  if (words.empty()) words = {25, 50, 100, 200, 400, 800};
  if (flags.test != "input") {
    for (int num_words : words) options.workloads.push_back(output_workload(num_words));
  }
  if (flags.test != "output") options.workloads.push_back(input_workload());
  options.model = model_of(flags);
  return options;
}

TrafficOptions make_traffic_options(const LoadtestFlags& flags) {
  TrafficOptions options;
  options.url = url_of(flags);
  options.api = api_of(flags);
  options.model = model_of(flags);
  options.kind = flags.test == "mixed" ? TrafficKind::kMixed : TrafficKind::kStories;
  options.mix = flags.mix == "alpaca" ? Mix::kAlpaca : Mix::kShareGpt;
  if (!flags.words.empty()) options.story_words = flags.words.front();
  options.max_tokens = flags.options.max_tokens.value_or(options.max_tokens);
  if (flags.rates.empty()) {
    for (int clients : flags.options.concurrency) options.arrivals.push_back({clients, 0});
  }
  for (double rate : flags.rates) options.arrivals.push_back({0, rate});
  options.duration = milliseconds_of(flags.duration_seconds);
  options.drain = milliseconds_of(flags.drain_seconds);
  options.num_requests = flags.num_requests;
  options.seed = flags.seed ? *flags.seed : std::random_device{}();
  options.temperature = flags.options.temperature;
  options.ignore_end = flags.ignore_end;
  options.warm_up = !flags.no_warm_up;
  options.idle_timeout = milliseconds_of(flags.timeout_seconds);
  return options;
}

// Prints what there is, then fails when the test was not what it should have been.
void print_results(const LoadtestFlags& flags, const std::string& header, const std::string& table,
                   const std::string& json, const std::vector<const ExchangeRecord*>& failed,
                   size_t num_requests) {
  std::fputs(printable_lines(header).c_str(), flags.is_csv ? stderr : stdout);
  std::fputs((flags.is_csv ? table : printable_lines("\n" + table)).c_str(), stdout);
  std::fflush(stdout);
  if (!flags.json_path.empty()) write_file(flags.json_path, json);
  if (g_stop) throw Error(ErrorCode::kCancelled, "stopped before the end of the load test");
  if (!failed.empty()) {
    throw Error(ErrorCode::kIo, std::to_string(failed.size()) + " of " +
                                    std::to_string(num_requests) +
                                    " requests failed; the first: " + failed.front()->error);
  }
}

void run_waves(const LoadtestFlags& flags) {
  const LoadTestOptions options = make_options(flags);
  const LoadTestResult result = run_load_test(options, g_stop, show_progress<LoadTestProgress>);
  const std::vector<ReportRow> rows = summarize(result.requests);
  std::vector<const ExchangeRecord*> failed;
  for (const RequestRecord& request : result.requests) {
    if (!request.error.empty()) failed.push_back(&request);
  }
  print_results(flags, header_text(options, result),
                flags.is_csv ? table_csv(rows) : table_text(rows, result.requests),
                report_json(options, result), failed, result.requests.size());
}

// Refusals and requests cut off at the end belong to these tests: they are no failures.
void run_lasting_traffic(const LoadtestFlags& flags) {
  const TrafficOptions options = make_traffic_options(flags);
  const TrafficResult result = run_traffic(options, g_stop, show_progress<TrafficProgress>);
  std::vector<const ExchangeRecord*> failed;
  size_t num_requests = 0;
  for (const TrafficPoint& point : result.points) {
    num_requests += point.requests.size();
    for (const TrafficRecord& request : point.requests) {
      const bool is_expected =
          request.is_success() || request.was_cancelled || request.is_refused();
      if (!is_expected) failed.push_back(&request);
    }
  }
  print_results(flags, traffic_header_text(options, result),
                flags.is_csv ? traffic_table_csv(result) : traffic_table_text(result),
                traffic_json(options, result), failed, num_requests);
}

void run(const LoadtestFlags& flags) {
  const bool is_lasting = flags.test == "clients" || flags.test == "mixed";
  if (!flags.rates.empty() && !is_lasting) {
    throw Error(ErrorCode::kInvalidArgument,
                "--rate needs --test mixed (or clients): the other tests send waves");
  }
  check_writable(flags.json_path);
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
  command.option("--duration", flags.duration_seconds, "Seconds of each line (clients, mixed)")
      .range(0.1, 1e6)
      .show_default();
  command
      .option("--count", flags.num_requests,
              "Requests of each line instead of a duration (clients, mixed)")
      .range(1, 10'000'000);
  command
      .option("--drain", flags.drain_seconds,
              "Seconds that requests may still run after the end (clients, mixed)")
      .range(0.0, 1e6)
      .show_default();
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
  command.option("--api", flags->api, "Protocol: ollama or openai")
      .one_of({"ollama", "openai"})
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
  command.option("--seed", flags->seed,
                 "Request i is sampled with SEED + i and gets its own order of the text's "
                 "sentences (default: random)");
  command.flag("--same-prompt", flags->options.same_prompt,
               "Send every request alike (a prefix cache then shows)");
  command.option("--temperature", flags->options.temperature,
                 "Sampling temperature (default: the server's)");
  command
      .option("--max-tokens", flags->options.max_tokens,
              "Longest reply (default: no limit, as in the article; clients: 128)")
      .range(1, 1'000'000);
  command.option("--timeout", flags->timeout_seconds, "Longest silence of a reply, in seconds")
      .range(0.0, 1e6)
      .show_default();
  command.flag("--no-warm-up", flags->no_warm_up,
               "Do not send a first request that is not counted");
  add_traffic_flags(command, *flags);
  command.option("--json", flags->json_path, "Write every request's raw figures to this file");
  command.flag("--csv", flags->is_csv, "Print the table as CSV");
  command.action([flags] { run(*flags); });
}

}  // namespace sluice::cli
