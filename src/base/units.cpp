#include "base/units.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>

namespace sluice {
namespace {

template <typename... Args>
std::string print(const char* format, Args... args) {
  std::array<char, 64> buffer;
  const int length = std::snprintf(buffer.data(), buffer.size(), format, args...);
  return {buffer.data(), static_cast<size_t>(length)};
}

// `value` / 10^`digits` without trailing zeros: (1500, 3) is "1.5".
std::string decimal(uint64_t value, int digits) {
  uint64_t divisor = 1;
  for (int i = 0; i < digits; ++i) divisor *= 10;
  std::string text = std::to_string(value / divisor);
  std::string fraction = std::to_string(value % divisor);
  fraction.insert(
      0, static_cast<size_t>(digits) - std::min(fraction.size(), static_cast<size_t>(digits)), '0');
  fraction.erase(fraction.find_last_not_of('0') + 1);
  return fraction.empty() ? text : text + "." + fraction;
}

struct Unit {
  std::string_view name;
  uint64_t nanoseconds;
};

// Both spellings of micro: U+00B5 and U+03BC.
constexpr std::array kUnits = {
    Unit{"ns", 1},
    Unit{"us", 1'000},
    Unit{"\u00b5s", 1'000},
    Unit{"\u03bcs", 1'000},
    Unit{"ms", 1'000'000},
    Unit{"s", 1'000'000'000},
    Unit{"m", 60'000'000'000},
    Unit{"h", 3'600'000'000'000},
};

bool is_digit(char character) { return character >= '0' && character <= '9'; }

// One "1.5h" taken from the front of `text`, in nanoseconds; nothing if there is none or it
// overflows.
std::optional<uint64_t> take_term(std::string_view& text) {
  constexpr uint64_t kMax = uint64_t{1} << 63;
  uint64_t whole = 0;
  uint64_t fraction = 0;  // in units of 1 / scale
  double scale = 1.0;
  bool has_digits = false;
  for (; !text.empty() && is_digit(text.front()); text.remove_prefix(1), has_digits = true) {
    if (whole > kMax / 10) return std::nullopt;
    whole = whole * 10 + static_cast<uint64_t>(text.front() - '0');
    if (whole > kMax) return std::nullopt;
  }
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    for (; !text.empty() && is_digit(text.front()); text.remove_prefix(1), has_digits = true) {
      if (fraction > kMax / 10 - 1) continue;  // further digits change nothing
      fraction = fraction * 10 + static_cast<uint64_t>(text.front() - '0');
      scale *= 10;
    }
  }
  if (!has_digits) return std::nullopt;

  const std::string_view name = text.substr(0, text.find_first_of(".0123456789"));
  for (const Unit& unit : kUnits) {
    if (unit.name != name) continue;
    text.remove_prefix(name.size());
    if (whole > kMax / unit.nanoseconds) return std::nullopt;
    const double part =
        static_cast<double>(fraction) * (static_cast<double>(unit.nanoseconds) / scale);
    const uint64_t total = whole * unit.nanoseconds + static_cast<uint64_t>(part);
    return total > kMax ? std::nullopt : std::optional(total);
  }
  return std::nullopt;
}

std::string count_of(int64_t count, const char* unit) { return std::to_string(count) + unit; }

}  // namespace

std::string format_bytes(uint64_t size_bytes) {
  constexpr std::array kNames = {"KB", "MB", "GB", "TB"};
  if (size_bytes < 1000) return std::to_string(size_bytes) + " B";
  size_t unit = 0;
  uint64_t divisor = 1000;
  while (unit + 1 < kNames.size() && size_bytes >= divisor * 1000) {
    divisor *= 1000;
    ++unit;
  }
  const bool is_whole = size_bytes % divisor == 0;
  if (size_bytes >= divisor * 10 || is_whole) {
    return std::to_string(size_bytes / divisor) + " " + kNames[unit];
  }
  return print("%.1f %s", static_cast<double>(size_bytes) / static_cast<double>(divisor),
               kNames[unit]);
}

std::string format_go_duration(std::chrono::nanoseconds duration) {
  const int64_t signed_count = duration.count();
  const std::string sign = signed_count < 0 ? "-" : "";
  const uint64_t count = signed_count < 0 ? 0 - static_cast<uint64_t>(signed_count)
                                          : static_cast<uint64_t>(signed_count);
  if (count == 0) return "0s";
  if (count < 1'000) return sign + std::to_string(count) + "ns";
  if (count < 1'000'000) return sign + decimal(count, 3) + "\u00b5s";
  if (count < 1'000'000'000) return sign + decimal(count, 6) + "ms";
  constexpr uint64_t kMinute = 60'000'000'000;
  const std::string seconds = decimal(count % kMinute, 9) + "s";
  const uint64_t minutes = count / kMinute;
  if (minutes == 0) return sign + seconds;
  if (minutes < 60) return sign + std::to_string(minutes) + "m" + seconds;
  return sign + std::to_string(minutes / 60) + "h" + std::to_string(minutes % 60) + "m" + seconds;
}

std::optional<std::chrono::nanoseconds> parse_go_duration(std::string_view text) {
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  if (text == "0") return std::chrono::nanoseconds(0);
  if (text.empty()) return std::nullopt;
  uint64_t total = 0;
  while (!text.empty()) {
    const std::optional<uint64_t> term = take_term(text);
    if (!term) return std::nullopt;
    total += *term;  // both at most 2^63: a sum of 2^64 wraps to 0
    if (total < *term || total > uint64_t{1} << 63) return std::nullopt;
  }
  constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (is_negative) return std::chrono::nanoseconds(static_cast<int64_t>(0 - total));
  if (total > kMax) return std::nullopt;
  return std::chrono::nanoseconds(static_cast<int64_t>(total));
}

std::string format_parameter_count(uint64_t count) {
  const auto number = static_cast<double>(count);
  if (count >= 1'000'000'000) {
    return print(count % 1'000'000'000 == 0 ? "%.0fB" : "%.1fB", number / 1e9);
  }
  if (count >= 1'000'000) return print(count % 1'000'000 == 0 ? "%.0fM" : "%.2fM", number / 1e6);
  if (count >= 1'000) return print("%.0fK", number / 1e3);
  return std::to_string(count);
}

std::string format_human_duration(std::chrono::seconds duration) {
  const int64_t seconds = duration.count();
  if (seconds < 1) return "Less than a second";
  if (seconds == 1) return "1 second";
  if (seconds < 60) return count_of(seconds, " seconds");
  const int64_t minutes = seconds / 60;
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return count_of(minutes, " minutes");
  const int64_t hours = seconds / 3600 + (seconds % 3600 >= 1800 ? 1 : 0);
  if (hours == 1) return "About an hour";
  if (hours < 48) return count_of(hours, " hours");
  if (hours < 24 * 7 * 2) return count_of(hours / 24, " days");
  if (hours < 24 * 30 * 2) return count_of(hours / 24 / 7, " weeks");
  if (hours < 24 * 365 * 2) return count_of(hours / 24 / 30, " months");
  return count_of(seconds / 3600 / 24 / 365, " years");
}

std::string format_rfc3339(std::chrono::system_clock::time_point time) {
  const auto second = std::chrono::floor<std::chrono::seconds>(time);
  const auto fraction = std::chrono::duration_cast<std::chrono::nanoseconds>(time - second).count();
  const auto day = std::chrono::floor<std::chrono::days>(second);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(second - day);
  std::string text =
      print("%04d-%02u-%02uT%02d:%02d:%02d", static_cast<int>(date.year()),
            static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
            static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
            static_cast<int>(clock.seconds().count()));
  if (fraction != 0) text += decimal(static_cast<uint64_t>(fraction), 9).substr(1);
  return text + "Z";
}

}  // namespace sluice
