#include "monitor/layout.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/print.h"
#include "monitor/example_view.h"

namespace sluice::monitor {
namespace {

std::string text_of(const std::vector<Line>& lines) {
  std::string text;
  for (const Line& line : lines) text += line.text + "\n";
  return text;
}

TEST(Layout, ShowsEverythingOnAWideScreen) {
  EXPECT_EQ(
      text_of(layout(example_view(), 110, 0)),
      R"(sluice 0.1.0 at http://127.0.0.1:11434  up 3m 20s  process 77  2 connections  models 500 MB of 8 GB
  smollm2:135m  134.52M  Q4_1  context 8192  97 MB + cache 377 MB  cpu avx2, 2 threads  until 12:05:00 UTC
    KV cache [##########+++++.....]  32 used + 16 reusable of 64 blocks
  big:70b  loading [#####...............] 25%  3 waiting for it

Requests  2 running, 5 waiting  waiting: 2 for a place, 3 for a model  wait about 2.5 s
    tokens/s: in 120.2, out 61.5  prefix cache hits 45%  10 done  3 cancelled  guesses right 75%  1 refused
      id  state                   prompt  cached   reply      age
      17  replying                   640      32     120    3.2 s  smollm2:135m
      18  prompt [###.....] 40%      640       0       0    0.4 s  smollm2:135m
      19  place 1, in 0.8 s           12       0       0   1m 05s  smollm2:135m
      20  place 2, in 1.6 s           14       0       0    0.1 s  smollm2:135m

Machine  4 cores at 53%  load 2.05 1.42 0.92  memory [###.......] 6 GB of 24 GB
    0 [##########] 100%     1 [#########.]  90%     2 [###.......]  25%     3 [..........]   0%

GPU 0  NVIDIA H200
  busy [######....] 55%  memory [###.......] 42 GB of 150 GB  300 of 700 W  45 C  1980 MHz

Server process 77   190% CPU   RSS 512 MB   3 threads
  cpu-worker-1      [####################]   99%
  engine            [##################..]   90%
  http              [....................]    1%
)");
}

TEST(Layout, WrapsOnANarrowScreen) {
  EXPECT_EQ(text_of(layout(example_view(), 72, 0)),
            R"(sluice 0.1.0 at http://127.0.0.1:11434  up 3m 20s  process 77
    2 connections  models 500 MB of 8 GB
  smollm2:135m  134.52M  Q4_1  context 8192  97 MB + cache 377 MB
    cpu avx2, 2 threads  until 12:05:00 UTC
    KV cache [##########+++++.....]  32 used + 16 reusable of 64 blocks
  big:70b  loading [#####...............] 25%  3 waiting for it

Requests  2 running, 5 waiting  waiting: 2 for a place, 3 for a model
    wait about 2.5 s  tokens/s: in 120.2, out 61.5
    prefix cache hits 45%  10 done  3 cancelled  guesses right 75%
    1 refused
      id  state                   prompt  cached   reply      age
      17  replying                   640      32     120    3.2 s  smol~
      18  prompt [###.....] 40%      640       0       0    0.4 s  smol~
      19  place 1, in 0.8 s           12       0       0   1m 05s  smol~
      20  place 2, in 1.6 s           14       0       0    0.1 s  smol~

Machine  4 cores at 53%  load 2.05 1.42 0.92
    memory [###.......] 6 GB of 24 GB
    0 [##########] 100%     1 [#########.]  90%
    2 [###.......]  25%     3 [..........]   0%

GPU 0  NVIDIA H200
  busy [######....] 55%  memory [###.......] 42 GB of 150 GB
    300 of 700 W  45 C  1980 MHz

Server process 77   190% CPU   RSS 512 MB   3 threads
  cpu-worker-1      [####################]   99%
  engine            [##################..]   90%
  http              [....................]    1%
)");
}

TEST(Layout, ShortensTheTablesOnALowScreenAndSaysSo) {
  const std::string text = text_of(layout(example_view(), 110, 21));
  EXPECT_NE(text.find("          and 2 more\n"), std::string::npos) << text;
  EXPECT_NE(text.find("  and 2 more\n"), std::string::npos) << text;
  EXPECT_NE(text.find("GPU 0"), std::string::npos) << text;
  EXPECT_EQ(layout(example_view(), 110, 5).size(), 5u);
}

TEST(Layout, ASmallScreenStillShowsTheSpeed) {
  EXPECT_EQ(text_of(layout(example_view(), 40, 10)),
            R"(sluice 0.1.0 at http://127.0.0.1:11434
tokens/s: in 120.2, out 61.5
Requests  2 running, 5 waiting
  smollm2:135m  cache [#####+++..]
  big:70b  loading 25%
CPU 53%  memory 6 GB of 24 GB
GPU 0  55%  42 GB
      17  replying  120 tokens
      18  prompt [###.....] 40%  0 toke~
          and 2 more
)");
  EXPECT_EQ(text_of(layout(example_view(), 40, 2)),
            "sluice 0.1.0 at http://127.0.0.1:11434\ntokens/s: in 120.2, out 61.5\n");
}

TEST(Layout, ATinyScreenToo) {
  EXPECT_EQ(text_of(layout(example_view(), 20, 4)),
            "out 61.5\nin 120.2 tokens/s\n2 run, 5 wait\nsmollm2:135m  50%\n");
  View view;
  view.now.server.error = "could not connect";
  EXPECT_EQ(text_of(layout(view, 20, 4)).substr(0, 37), "No server: could not\n    connect\nCPU ");
}

TEST(Layout, SaysWhatThoseWaitForWhoWait) {
  View view = example_view();
  view.now.server.models[0].num_waiting_for_cache = 2;
  RequestSample pending{.id = 21, .model = "big", .is_pending = true};
  view.now.server.requests.push_back(pending);
  pending.model = "other";
  view.now.server.requests.push_back(pending);
  const std::string text = text_of(layout(view, 110, 0));
  for (const char* part :
       {"waiting: 2 for room in the cache, 3 for a model", "21  loading 25%", "21  preparing"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

TEST(Layout, TellsOfCardsWhatFlowsAndRunsOnThem) {
  View view = example_view();
  view.now.gpus[0].pcie_sent_bytes_per_second = 2e6;
  view.now.gpus[0].pcie_received_bytes_per_second = 3e9;
  view.now.gpus[0].processes = {{.pid = 77, .memory_bytes = 40'000'000'000, .busy_percent = 97}};
  view.now.processes = {{.pid = 77, .name = "sluice", .ticks = 1}};
  view.gpu_rates = {{.power_watts = 512,
                     .nvlink_sent_bytes_per_second = 1e9,
                     .nvlink_received_bytes_per_second = 2e9}};
  view.processor_watts = 180.4;
  view.joules_per_token = 0.351;
  view.now.server.models[0].on_device_bytes = 400'000'000;
  view.now.server.models[0].parts = {{"cuda:0", 20, 1'000'000, 2'000'000, 3'000'000}};
  const std::string text = text_of(layout(view, 200, 0)) + text_of(layout(view, 110, 0));
  for (const char* part :
       {"PCIe in 3 GB/s, out 2 MB/s", "NVLink in 2 GB/s, out 1 GB/s", "512 of 700 W",
        "on it:  sluice (77) 40 GB 97%", "  180 W", "0.35 J/token", "(400 MB on GPUs)",
        "    cuda:0  20 layers  1 MB + cache 2 MB + work 3 MB"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

TEST(Layout, CoresAndThreadsGoBeforeTheRest) {
  const std::string text = text_of(layout(example_view(), 110, 17));
  EXPECT_NE(text.find("KV cache"), std::string::npos) << text;
  EXPECT_NE(text.find("      19  place 1"), std::string::npos) << text;
  EXPECT_EQ(text.find("cpu-worker-1"), std::string::npos) << text;
}

View busy_view() {
  View view = example_view();
  view.now.server.latency = {0.02, 0.08, 0.004, 0.009};
  view.now.server.requests[0].time_to_first_token = std::chrono::milliseconds(90);
  view.now.server.requests[0].mean_token_time = std::chrono::milliseconds(20);
  view.now.server.requests[0].client = "ann";
  view.now.machine.clock_mhz = 2100;
  view.now.machine.temperature_celsius = 54.5;
  view.disk_read_bytes_per_second = 3e6;
  view.others = {{.pid = 9, .name = "cc1plus", .cpu_share = 0.97}};
  return view;
}

TEST(Layout, TellsHowRepliesComeAndWhatElseRuns) {
  const std::string text = text_of(layout(busy_view(), 130, 0));
  for (const char* part :
       {"TTFT p50 20 p95 80 ms, ITL 4.0 9.0 ms", "2.1 GHz", "54 C", "disk in 3 MB/s, out 0 B/s",
        "beside it:  cc1plus (9) 97%", "age TTFT, ms ITL, ms tokens/s  client",
        "3.2 s       90    20.0     50.0  ann           smollm2:135m"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  const std::string small = text_of(layout(busy_view(), 40, 10));
  EXPECT_NE(small.find("TTFT p50 20 p95 80 ms, ITL 4.0 9.0 ms\n"), std::string::npos) << small;
}

TEST(Layout, PutsTheMachineBesideTheServerOnALargeScreen) {
  View view = busy_view();
  view.now.server.requests.resize(12, view.now.server.requests.back());
  const std::vector<Line> lines = layout(view, 200, 49);
  EXPECT_LE(lines.size(), 22u);  // the graphs get the rest
  const auto begins = std::find_if(lines.begin(), lines.end(), [](const Line& line) {
    return line.right.starts_with("Machine  4 cores");
  });
  ASSERT_NE(begins, lines.end());
  EXPECT_EQ(begins->right_style, Style::kTitle);
  EXPECT_EQ(begins->style, Style::kPlain);
  const std::string whole = whole_text(*begins);
  EXPECT_EQ(display_width(whole.substr(0, whole.find("Machine"))),
            124u);  // behind requests with their models
  for (const Line& line : lines) EXPECT_LE(display_width(whole_text(line)), 200u) << line.text;
  EXPECT_TRUE(std::any_of(lines.begin(), lines.end(), [](const Line& line) {
    return line.right.find("cpu-worker-1") != std::string::npos;
  }));
}

TEST(Layout, NeverPassesTheScreensEdges) {
  View view = example_view();
  view.now.server.models[0].name = "modèle-模型" + std::string(300, 'x');
  view.threads.resize(500, {.id = 1, .name = "worker", .cpu_share = 0.5});
  view.now.server.requests.resize(2000, view.now.server.requests.back());
  view.core_shares.resize(256, 0.5);
  for (int width : {1, 20, 40, 79, 80, 200}) {
    for (int height : {1, 10, 24, 60}) {
      const std::vector<Line> lines = layout(view, width, height);
      EXPECT_LE(lines.size(), static_cast<size_t>(height));
      for (const Line& line : lines) {
        EXPECT_LE(display_width(whole_text(line)), static_cast<size_t>(std::max(width, 10)));
      }
    }
  }
}

TEST(Layout, ShowsManyCoresAsNumbers) {
  View view = example_view();
  view.core_shares.assign(128, 0.5);
  view.core_shares[7] = 1;
  const std::string text = text_of(layout(view, 82, 0));
  EXPECT_NE(text.find("    0  50%    1  50%    2  50%    3  50%    4  50%    5  50%    6  50%    7 "
                      "100%\n"),
            std::string::npos)
      << text;
}

TEST(Layout, SaysWhenThereIsNoServerAndShowsTheMachine) {
  View view;
  view.now.server.error = "could not connect";
  view.core_shares = {0.5};
  view.now.machine.memory = {.total_bytes = 4'000'000'000, .available_bytes = 1'000'000'000};
  EXPECT_EQ(text_of(layout(view, 80, 0)),
            "No server: could not connect\n"
            "\n"
            "Machine  1 core at 0%  memory [########..] 3 GB of 4 GB\n"
            "    0 [#####.....]  50%\n");
  EXPECT_EQ(layout(view, 80, 0)[0].style, Style::kWarning);
  view.now.server.error = "could not connect to a server: start it";
  EXPECT_EQ(text_of(layout(view, 40, 2)),
            "No server: could not connect to a\n    server: start it\n");
}

TEST(Layout, ShowsWhatOllamaTells) {
  View view;
  view.url = "http://h:1";
  view.is_local = false;
  view.now.server.kind = ServerKind::kOllama;
  view.now.server.version = "0.17.7";
  EXPECT_EQ(text_of(layout(view, 80, 0)),
            "Ollama 0.17.7 at http://h:1\n"
            "  no model is loaded\n"
            "\n"
            "This machine (the server is elsewhere)  0 cores at 0%\n");
}

TEST(Layout, LetsNoControlCharactersThrough) {
  View view = example_view();
  view.now.server.models[0].name = "evil\x1b[2J\n\r\x07";
  view.now.server.version =
      "\xc2\x9b"
      "31m";
  view.threads[0].name = "thr\tead\xff";
  view.now.gpus[0].name = "\x1b]0;title";
  for (const Line& line : layout(view, 110, 0)) {
    for (char c : line.text) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << line.text;
    EXPECT_EQ(line.text.find("\xc2\x9b"), std::string::npos);
  }
}

TEST(Layout, DrawsBarsOfExactlyTheWidth) {
  EXPECT_EQ(bar(0, 0, 12), "[..........]");
  EXPECT_EQ(bar(0.5, 0.25, 12), "[#####+++..]");
  EXPECT_EQ(bar(1, 1, 12), "[##########]");
  EXPECT_EQ(bar(7, -3, 12), "[##########]");
  EXPECT_EQ(bar(-1, 0, 12), "[..........]");
  EXPECT_EQ(bar(std::nan(""), std::nan(""), 12), "[..........]");
  EXPECT_EQ(bar(1, 0, 0), "[#]");
}

}  // namespace
}  // namespace sluice::monitor
