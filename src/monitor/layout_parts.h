#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "monitor/layout.h"

// What screens are put together from: each adds its lines, of at most `width` columns unless it
// says otherwise (then the caller cuts them).
namespace sluice::monitor {

using Lines = std::vector<Line>;

// Of all models together.
struct RequestCounts {
  int num_running = 0;
  int num_waiting = 0;
  int num_waiting_for_load = 0;   // of these, until a model is there
  int num_waiting_for_cache = 0;  // and for room in a cache
  uint64_t num_finished = 0;
  uint64_t num_rejected = 0;
  uint64_t num_preemptions = 0;
  uint64_t num_cancelled = 0;
  uint64_t num_drafts = 0;
  uint64_t num_accepted = 0;
  std::chrono::nanoseconds wait{};
};
RequestCounts count_requests(const ServerSample& server);

std::string requests_text(const RequestCounts& counts);      // "Requests  2 running, 5 waiting"
std::string speed_text(const View& view);                    // "tokens/s: in 120.2, out 61.5"
std::string latency_text(const LatencySample& latency);      // "" when it is not known
std::string gpu_traffic_text(const View& view, size_t gpu);  // "" when nothing is told
// "replying", "prompt [###.....] 40%", "place 2, in 1.6 s", "loading 25%", "preparing".
std::string state_text(const RequestSample& request, const ServerSample& server);

void add_server(const View& view, int width, Lines& lines);
void add_models(const ServerSample& server, int width, Lines& lines);
void add_model(const ModelSample& model, int width, Lines& lines);
// An empty line, the numbers, and a table of at most `most` requests. Not cut.
void add_requests(const View& view, int width, size_t most, Lines& lines);
// The table's line of titles and lines. Not cut.
std::string request_titles(const ServerSample& server, int width);
std::string request_line(const RequestSample& request, const ServerSample& server, int width);
// "  17  replying  120 tokens"; fewer spaces where it is narrow.
std::string brief_request_line(const RequestSample& request, const ServerSample& server, int width);
// "          and 3 more"; nothing for 0.
void add_number_of_more(size_t number, Lines& lines);
void add_machine(const View& view, int width, Lines& lines);
void add_cores(const View& view, int width, Lines& lines);
// What else takes the cores.
void add_others(const View& view, int width, Lines& lines);
// An empty line, the server's process, and at most `most` of its threads. Not cut.
void add_threads(const View& view, size_t most, Lines& lines);
std::string thread_line(const ThreadShare& thread);
void add_gpu(const View& view, size_t gpu, int width, Lines& lines);
// "python3 (812)": of a process on a GPU.
std::string process_name(const View& view, int pid);

// "3.2 s", "42 s", "3m 20s", "5h 02m", "12d 3h".
std::string age_text(std::chrono::nanoseconds age);
double percent(double share);  // within what a table has room for
double ratio(double part, double whole);
// The parts in a row, `gap` between them, going on in further lines where the width ends; empty
// parts are left out.
void add_wrapped(const std::vector<std::string>& parts, Style style, int width, Lines& lines,
                 std::string_view gap = "  ");
std::vector<std::string> words_of(const std::string& text);

// From so many columns on a table of requests tells their pace.
constexpr int kWideTable = 105;
constexpr int kWideTableOfModels = 122;  // with their names

}  // namespace sluice::monitor
