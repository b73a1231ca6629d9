#include <chrono>
#include <cstdio>
#include <ctime>
#include <vector>

#include "text/jinja/interpreter.h"

namespace sluice::text::jinja {

namespace {

// Python fills in these itself before it asks the C library: microseconds, and the zone, which is
// empty for a local time without one.
std::string expand_python_fields(const std::string& format, int microseconds) {
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    char next = format[i] == '%' && i + 1 < format.size() ? format[i + 1] : '\0';
    if (next == '\0') {
      out.push_back(format[i]);
      continue;
    }
    ++i;
    if (next == 'f') {
      char digits[16];
      std::snprintf(digits, sizeof digits, "%06d", microseconds);
      out += digits;
    } else if (next != 'z' && next != 'Z') {
      out.push_back('%');
      out.push_back(next);
    }
  }
  return out;
}

}  // namespace

std::string format_time(Interpreter& interpreter, const std::string& format) {
  constexpr size_t kMaxLength = 64u << 10;
  if (format.find('\0') != std::string::npos) throw TemplateError("embedded null character");
  if (format.size() > kMaxLength / 16) throw TemplateError("the time format is too long");
  std::tm now{};
  int microseconds = interpreter.options().now_microseconds;
  if (interpreter.options().now != nullptr) {
    now = *interpreter.options().now;
  } else {
    auto time = std::chrono::system_clock::now();
    std::time_t seconds = std::chrono::system_clock::to_time_t(time);
    localtime_r(&seconds, &now);
    auto since_epoch = time.time_since_epoch() % std::chrono::seconds(1);
    microseconds = static_cast<int>(
        std::chrono::duration_cast<std::chrono::microseconds>(since_epoch).count());
  }
  // The extra character tells an empty result from one that does not fit.
  std::string expanded = expand_python_fields(format, microseconds) + "x";
  std::vector<char> buffer(kMaxLength);
  size_t length = std::strftime(buffer.data(), buffer.size(), expanded.c_str(), &now);
  if (length == 0) throw TemplateError("the formatted time is too long");
  return {buffer.data(), length - 1};
}

}  // namespace sluice::text::jinja
