#include "engine/counters.h"

#include <algorithm>
#include <limits>
#include <type_traits>

namespace sluice::engine {
namespace {

template <typename T>
constexpr bool kIsDuration = std::is_same_v<T, std::chrono::nanoseconds>;

template <auto kMember>
uint64_t get(const EngineCounts& counts) {
  const auto& value = counts.*kMember;
  if constexpr (kIsDuration<std::decay_t<decltype(value)>>) {
    return static_cast<uint64_t>(value.count());
  } else {
    return static_cast<uint64_t>(value);
  }
}

// What is too large for the member becomes its largest value.
template <auto kMember>
void set(EngineCounts& counts, uint64_t number) {
  auto& value = counts.*kMember;
  using Value = std::decay_t<decltype(value)>;
  if constexpr (kIsDuration<Value>) {
    value = Value(
        static_cast<int64_t>(std::min<uint64_t>(number, std::numeric_limits<int64_t>::max())));
  } else {
    value = static_cast<Value>(std::min<uint64_t>(number, std::numeric_limits<Value>::max()));
  }
}

}  // namespace

EngineTotals& EngineTotals::operator+=(const EngineTotals& other) {
#define SLUICE_NOTHING(type, member, metric, help)
#define SLUICE_ADD(type, member, metric, help) member += other.member;
  SLUICE_ENGINE_COUNTERS(SLUICE_NOTHING, SLUICE_ADD, SLUICE_ADD)
#undef SLUICE_ADD
#undef SLUICE_NOTHING
  for (size_t i = 0; i < num_ended.size(); ++i) num_ended[i] += other.num_ended[i];
  return *this;
}

std::span<const Counter> engine_counters() {
#define SLUICE_ROW(kind, type, member, metric, help)                    \
  {kIsDuration<type> ? #member "_ns" : #member,                         \
   metric,                                                              \
   help,                                                                \
   kind,                                                                \
   kIsDuration<type> ? CounterUnit::kNanoseconds : CounterUnit::kCount, \
   get<&EngineCounts::member>,                                          \
   set<&EngineCounts::member>},
#define SLUICE_GAUGE(type, member, metric, help) \
  SLUICE_ROW(CounterKind::kGauge, type, member, metric, help)
#define SLUICE_TOTAL(type, member, metric, help) \
  SLUICE_ROW(CounterKind::kTotal, type, member, metric, help)
#define SLUICE_NOTHING(bounds, member, metric, help)
  static constexpr Counter kCounters[] = {
      SLUICE_ENGINE_COUNTERS(SLUICE_GAUGE, SLUICE_TOTAL, SLUICE_NOTHING)};
#undef SLUICE_NOTHING
#undef SLUICE_TOTAL
#undef SLUICE_GAUGE
#undef SLUICE_ROW
  return kCounters;
}

std::span<const HistogramInfo> engine_histograms() {
#define SLUICE_NOTHING(type, member, metric, help)
#define SLUICE_ROW(bounds, member, metric, help) {metric, help, &EngineTotals::member},
  static constexpr HistogramInfo kHistograms[] = {
      SLUICE_ENGINE_COUNTERS(SLUICE_NOTHING, SLUICE_NOTHING, SLUICE_ROW)};
#undef SLUICE_ROW
#undef SLUICE_NOTHING
  return kHistograms;
}

}  // namespace sluice::engine
