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
#include "cli/commands.h"
#include "cli/settings.h"
#include "measure/report.h"

namespace sluice::cli {
namespace {

using namespace measure;

struct Flags {
  std::string url;
  std::string model;
  std::string api = "ollama";
  std::string test = "all";
  std::string json_path;
  bool is_csv = false;
  bool no_warm_up = false;
  double timeout_seconds = 600;
  std::vector<int> words = {25, 50, 100, 200, 400, 800};
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
void show_progress(const LoadTestProgress& progress) {
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

LoadTestOptions make_options(const Flags& flags) {
  LoadTestOptions options = flags.options;
  options.url = http::parse_url(flags.url.empty() ? read_settings().host : flags.url);
  options.api = flags.api == "openai" ? Api::kOpenai : Api::kOllama;
  options.warm_up = !flags.no_warm_up;
  options.seed = flags.seed ? *flags.seed : std::random_device{}();
  options.idle_timeout =
      std::chrono::milliseconds(static_cast<int64_t>(flags.timeout_seconds * 1e3));
  if (flags.test != "input") {
    for (int num_words : flags.words) options.workloads.push_back(output_workload(num_words));
  }
  if (flags.test != "output") options.workloads.push_back(input_workload());
  options.model = flags.model;
  if (options.model.empty()) {
    http::Client client(options.url);
    options.model = first_model(client, options.api);
  }
  return options;
}

void run(const Flags& flags) {
  const LoadTestOptions options = make_options(flags);
  check_writable(flags.json_path);
  stop_at_interrupt();
  const LoadTestResult result = run_load_test(options, g_stop, show_progress);
  const std::vector<ReportRow> rows = summarize(result.requests);
  std::fputs(header_text(options, result).c_str(), flags.is_csv ? stderr : stdout);
  std::fputs(
      flags.is_csv ? table_csv(rows).c_str() : ("\n" + table_text(rows, result.requests)).c_str(),
      stdout);
  std::fflush(stdout);
  if (!flags.json_path.empty()) write_file(flags.json_path, report_json(options, result));
  if (g_stop) throw Error(ErrorCode::kCancelled, "stopped before the end of the load test");
  int num_failed = 0;
  std::string first_error;
  for (const RequestRecord& request : result.requests) {
    if (!request.error.empty() && num_failed++ == 0) first_error = request.error;
  }
  if (num_failed > 0) {
    throw Error(ErrorCode::kIo, std::to_string(num_failed) + " of " +
                                    std::to_string(result.requests.size()) +
                                    " requests failed; the first: " + first_error);
  }
}

}  // namespace

void add_loadtest(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "loadtest", "Measure a running server: speed by length of the reply and number of users");
  command->add_option("URL", flags->url,
                      "Server to test (default: SLUICE_HOST, OLLAMA_HOST, 127.0.0.1:11434)");
  command->add_option("--model", flags->model, "Model (default: the first the server lists)");
  command->add_option("--api", flags->api, "Protocol: ollama or openai")
      ->check(CLI::IsMember({"ollama", "openai"}))
      ->capture_default_str();
  command->add_option("--test", flags->test, "output (stories), input (484-word text) or all")
      ->check(CLI::IsMember({"output", "input", "all"}))
      ->capture_default_str();
  command->add_option("--requests", flags->options.concurrency, "Requests at a time, as 1,2,4")
      ->delimiter(',')
      ->check(CLI::Range(1, kMaxConcurrency))
      ->capture_default_str();
  command->add_option("--words", flags->words, "Words to ask for in the output test")
      ->delimiter(',')
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->add_option("--repeat", flags->options.repeat, "How often each line is measured")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  command->add_option("--seed", flags->seed,
                      "Request i is sampled with SEED + i and gets its own order of the text's "
                      "sentences (default: random)");
  command->add_flag("--same-prompt", flags->options.same_prompt,
                    "Send every request alike (a prefix cache then shows)");
  command->add_option("--temperature", flags->options.temperature,
                      "Sampling temperature (default: the server's)");
  command
      ->add_option("--max-tokens", flags->options.max_tokens,
                   "Longest reply (default: no limit, as in the article)")
      ->check(CLI::Range(1, 1'000'000));
  command->add_option("--timeout", flags->timeout_seconds, "Longest silence of a reply, in seconds")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  command->add_flag("--no-warm-up", flags->no_warm_up,
                    "Do not send a first request that is not counted");
  command->add_option("--json", flags->json_path, "Write every request's raw figures to this file");
  command->add_flag("--csv", flags->is_csv, "Print the table as CSV");
  command->callback([flags] { run(*flags); });
}

}  // namespace sluice::cli
