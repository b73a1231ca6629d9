#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

// What the benchmarks share.
namespace sluice::bench {

// Seconds.
inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The best of some repetitions over at least `seconds`: neighbours only ever slow things down.
template <class Function>
double best_time(double seconds, Function f) {
  f();
  double best = 1e9;
  const double end = now() + seconds;
  do {
    const double start = now();
    f();
    best = std::min(best, now() - start);
  } while (now() < end);
  return best;
}

// The parts of an argument as "1,2,4".
inline std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    parts.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

}  // namespace sluice::bench
