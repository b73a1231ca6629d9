#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/settings.h"
#include "cli/terminal.h"
#include "monitor/layout.h"
#include "monitor/sampler.h"
#include "monitor/screen.h"
#include "monitor/view_json.h"

namespace sluice::cli {
namespace {

using namespace monitor;
using std::chrono::milliseconds;

constexpr int kDefaultWidth = 110;

struct TopFlags {
  std::string url;
  bool is_once = false;
  bool is_json = false;
  double interval_seconds = 1;
};

int output_width() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return kDefaultWidth;
}

void print_view(const View& view, bool is_json) {
  if (is_json) {
    std::printf("%s\n", view_json(view).c_str());
  } else {
    for (const Line& line : layout(view, output_width(), 0)) std::printf("%s\n", line.text.c_str());
  }
  flush_output();
}

// A machine without a server is shown too (in JSON "server" is null and "error" says why); asked
// for one sample, that is a failure all the same, so that a script need not read it.
void print_samples(const http::Url& url, milliseconds interval, bool is_once, bool is_json) {
  Sampler sampler(url);
  Snapshot before = sampler.take();
  do {
    std::this_thread::sleep_for(interval);
    Snapshot now = sampler.take();
    print_view(make_view(before, now, sampler.url(), sampler.is_local()), is_json);
    if (is_once && now.server.kind == ServerKind::kNone) {
      throw Error(ErrorCode::kIo, now.server.error);
    }
    before = std::move(now);
  } while (!is_once);
}

void run(const TopFlags& flags) {
  const http::Url url = http::parse_url(flags.url.empty() ? read_settings().host : flags.url);
  const milliseconds interval(static_cast<int64_t>(flags.interval_seconds * 1e3));
  if (flags.is_once) {
    print_samples(url, std::min(interval, milliseconds(1000)), true, flags.is_json);
  } else if (flags.is_json) {
    print_samples(url, interval, false, true);
  } else {
    run_screen(url, interval);
  }
}

}  // namespace

void add_top(Command& program) {
  auto flags = std::make_shared<TopFlags>();
  Command command = program.subcommand(
      "top", "Watch a server and this machine: requests, speed, cache, cores, threads, GPU");
  command.option("URL", flags->url,
                 "Server to watch (default: SLUICE_HOST, OLLAMA_HOST, 127.0.0.1:11434)");
  command.flag("--once", flags->is_once, "Print it as plain text after one interval and end");
  command.option("--interval", flags->interval_seconds, "Seconds between two samples")
      .range(0.1, 3600.0)
      .show_default();
  command.flag("--json", flags->is_json, "Print each sample as one line of JSON");
  command.action([flags] { run(*flags); });
}

}  // namespace sluice::cli
