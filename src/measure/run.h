#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "measure/timeline.h"

// What `sluice loadtest --json` wrote, read again: what a report is made of. Of what a file does
// not tell, numbers are 0 and texts empty unless said otherwise.
namespace sluice::measure {

// What a card can at most; the largest where there are several.
struct RunCard {
  double memory_bytes = 0, power_watts = 0, clock_mhz = 0, temperature_celsius = 0;
  double pcie_bytes_per_second = 0;  // both ways together
};

struct RunMachine {
  std::string processor;
  int cores = 0;
  double memory_bytes = 0;
  double read_bytes_per_second = 0;  // by all cores, of the memory (or of the card's)
  double operations_per_second = 0;  // of matrix products, likewise; multiply and add are two
  double disk_bytes_per_second = 0;  // of the model's file, past the page cache
  double power_watts = 0;            // that the processors may take
  std::vector<std::string> gpus;
  RunCard card;
};

// Tensors of one name in all layers ("blk.*.attn_q.weight") that have the same type.
struct RunTensors {
  std::string name, type;
  int count = 0;
  double bytes = 0;  // of all of them
};

// What the server said of the model.
struct RunModel {
  std::string server;  // "sluice 0.1"
  std::string architecture, parameter_size, quantization, backend;
  std::map<std::string, double> bytes_by_type;  // of tensors: "Q4_K" -> bytes
  std::vector<RunTensors> tensors;              // in the file's order
  double token_read_bytes = 0;                  // weights that a decode step reads
  double token_operations = 0;                  // of a token's matrix products
  double cache_token_bytes = 0;                 // of one token in 16 bits, over all layers
  int trained_context = 0;
  int context = 0;  // that requests get
  double weights_bytes = 0, workspace_bytes = 0, cache_bytes = 0;
};

// One line of the test's table.
struct RunRow {
  std::string test;  // "output", "input", "clients", "mixed"
  int words = 0;
  int users = 0;       // requests at a time, or clients
  double rate = 0;     // requests a second that arrive; 0: users wait for their replies
  double speedup = 0;  // of a trace; 0: it is none
  int num_completed = 0, num_failed = 0, num_refused = 0;
  // NaN: not known.
  double mean_output_tokens = 0, mean_seconds = 0;
  double tokens_per_second_each = 0, tokens_per_second = 0;
  double ttft_seconds = 0, ttft_p95_seconds = 0;  // mean or median
  double itl_seconds = 0, itl_p95_seconds = 0;
  double sent_per_second = 0, completed_per_second = 0;  // requests
};

struct RunRequest {
  int row = -1;  // of LoadRun::rows
  double sent_seconds = 0, ended_seconds = 0;
  std::vector<double> piece_seconds;
  double prompt_tokens = -1, cached_tokens = -1, output_tokens = 0;  // -1: not known
  std::string finish_reason, error, failure_kind;
};

struct LoadRun {
  std::string label;  // the file's name
  std::string started_at, url, api, model, test;
  double warm_up_seconds = 0;
  bool was_stopped = false;
  RunMachine machine;
  RunModel facts;
  std::vector<RunRow> rows;
  std::vector<RunRequest> requests;
  std::vector<TimelinePoint> timeline;
};

// Throws Error(kCorruptData) for what no load test wrote.
LoadRun parse_run(std::string_view json_text, const std::string& label);

// The two members that a load test's document gets beside its figures.
nlohmann::json to_json(const RunMachine& machine);
nlohmann::json to_json(const RunModel& model);

}  // namespace sluice::measure
