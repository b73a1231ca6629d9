// What users give a load test: the first byte says which of its texts the rest is.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "measure/goal.h"
#include "measure/prompts.h"
#include "measure/trace.h"
#include "measure/traffic_mix.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::measure;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (data[0] % 4) {
      case 0: {
        const Trace trace = parse_trace(text, "trace");
        for (const TraceRequest& request : trace.requests) {
          if (request.due.count() < 0 || request.output_tokens < 1) __builtin_trap();
          if (request.input_tokens < 10'000) make_trace_prompt(request, 1, 0);
        }
        break;
      }
      case 1:
        if (parse_prompts(text, "prompts").empty()) __builtin_trap();
        break;
      case 2: {
        const Goal goal = parse_goal(text);
        for (const GoalBound& bound : goal.bounds) {
          if (!(bound.limit_seconds > 0) || name_of(bound).empty()) __builtin_trap();
        }
        // What it understood is understood again.
        if (parse_goal(goal.text).bounds.size() != goal.bounds.size()) __builtin_trap();
        break;
      }
      default:
        if (draw_length(parse_length(text, "length"), 1, 2) < 1) __builtin_trap();
    }
  } catch (const sluice::Error&) {
  }
  return 0;
}
