#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// Traffic that was recorded somewhere, to be sent again: when requests came, how long they and
// their replies were, and which beginnings they shared.
namespace sluice::measure {

constexpr int kTraceBlockTokens = 512;  // of a prompt, for each of hash_ids
constexpr uint64_t kMaxTraceFileBytes = 1u << 30;

struct TraceRequest {
  std::chrono::nanoseconds due{};  // since the first one
  int input_tokens = 1;
  int output_tokens = 1;
  std::vector<uint64_t> blocks = {};  // of the prompt; the same number means the same text
};

struct Trace {
  std::vector<TraceRequest> requests;  // by time; at least one
  size_t num_left_out = 0;             // had no reply then (0 tokens)
};

// A request a line, in one of two forms, by their published columns:
//   Mooncake  {"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}
//             in milliseconds; hash_ids are blocks of kTraceBlockTokens tokens, and may be missing
//   BurstGPT  a first line Timestamp,...,Request tokens,Response tokens,... and lines of CSV, or
//             objects with these members; in seconds
// Throws Error: kInvalidArgument naming the line for what is neither and for numbers out of range,
// and for a file without requests; what read_small_file() throws.
Trace read_trace(const std::string& path);
Trace parse_trace(std::string_view text, const std::string& name);

}  // namespace sluice::measure
