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
#include "monitor/arrange.h"
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
  std::string sort = "queue";
  std::string filter;
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
    for (const Line& line : layout(view, output_width(), 0)) {
      std::printf("%s\n", whole_text(line).c_str());
    }
  }
  flush_output();
}

// A machine without a server is shown too (in JSON "server" is null and "error" says why); asked
// for one sample, that is a failure all the same, so that a script need not read it.
void print_samples(const http::Url& url, const std::string& api_key, milliseconds interval,
                   const Arrangement& arrangement, bool is_once, bool is_json) {
  SnapshotSampler sampler(url, api_key, /*lists_processes=*/true);
  Snapshot before = sampler.take();
  do {
    std::this_thread::sleep_for(interval);
    Snapshot now = sampler.take();
    View view = make_view(before, now, sampler.url(), sampler.is_local());
    arrange(arrangement, view.now.server);
    print_view(view, is_json);
    if (is_once && now.server.kind == ServerKind::kNone) {
      throw Error(ErrorCode::kIo, now.server.error);
    }
    before = std::move(now);
  } while (!is_once);
}

void run(const TopFlags& flags) {
  const Settings settings = read_settings();
  const http::Url url = http::parse_url(flags.url.empty() ? settings.host : flags.url);
  const milliseconds interval(static_cast<int64_t>(flags.interval_seconds * 1e3));
  const Arrangement arrangement{sort_key_of(flags.sort), flags.filter};
  if (flags.is_once) {
    print_samples(url, settings.api_key, std::min(interval, milliseconds(1000)), arrangement, true,
                  flags.is_json);
  } else if (flags.is_json) {
    print_samples(url, settings.api_key, interval, arrangement, false, true);
  } else {
    run_screen(url, settings.api_key, interval, arrangement);
  }
}

}  // namespace

void add_top(Command& program) {
  auto flags = std::make_shared<TopFlags>();
  Command command = program.subcommand(
      "top", "Watch a server and this machine: requests, speed, cache, cores, threads, GPU");
  command.footer(
      "Keys on the screen: q quits, Tab shows one list alone (requests, models, threads, "
      "processes), "
      "which the arrows, PgUp, PgDn, Home and End scroll, Escape goes back; s sorts the requests "
      "in "
      "another order, / filters them by client or model (Escape: all), x cancels the one whose id "
      "is typed (needs the scope manage where keys are wanted), ? says all that.");
  command.option("URL", flags->url,
                 "Server to watch (default: SLUICE_HOST, OLLAMA_HOST, 127.0.0.1:11434)");
  command.flag("--once", flags->is_once, "Print it as plain text after one interval and end");
  command.option("--interval", flags->interval_seconds, "Seconds between two samples")
      .range(0.1, 3600.0)
      .show_default();
  command.option("--sort", flags->sort, "Order of the requests (key s on the screen)")
      .one_of(sort_key_names())
      .show_default();
  command.option("--filter", flags->filter,
                 "Only requests of which client or model hold this text (key /)");
  command.flag("--json", flags->is_json, "Print each sample as one line of JSON");
  command.action([flags] { run(*flags); });
}

}  // namespace sluice::cli
