#include "measure/trace.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/input_file.h"
#include "measure/text_lines.h"

namespace sluice::measure {
namespace {

using nlohmann::json;

constexpr double kMostTraceTokens = 1e6;
constexpr double kMostTraceSeconds = 1e9;

constexpr const char* kTimeColumn = "Timestamp";
constexpr const char* kInputColumn = "Request tokens";
constexpr const char* kOutputColumn = "Response tokens";

// What a line says, in numbers; NaN is no number.
struct TraceLine {
  double seconds = 0, input_tokens = 0, output_tokens = 0;
  std::vector<uint64_t> blocks = {};
};

class TraceReader {
 public:
  explicit TraceReader(const std::string& name) : name_(name) {}

  void take(std::string_view line, size_t number) {
    number_ = number;
    if (line.front() == '{') {
      add(read_object(line));
    } else if (columns_) {
      add(read_row(line));
    } else {
      columns_ = read_header(line);
    }
  }

  Trace finish() {
    if (trace_.requests.empty()) {
      throw Error(ErrorCode::kInvalidArgument, name_ + " holds no requests that had a reply");
    }
    const auto is_earlier = [](const TraceRequest& a, const TraceRequest& b) {
      return a.due < b.due;
    };
    std::stable_sort(trace_.requests.begin(), trace_.requests.end(), is_earlier);
    const auto first = trace_.requests.front().due;
    for (TraceRequest& request : trace_.requests) request.due -= first;
    return std::move(trace_);
  }

 private:
  struct Columns {
    size_t time = 0, input = 0, output = 0;
  };

  [[noreturn]] void refuse(const std::string& what) const {
    throw wrong_line(name_, number_, what);
  }

  double number_member(const json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_number()) {
      refuse(std::string("\"") + key + "\" should be a number");
    }
    return found->get<double>();
  }

  TraceLine read_object(std::string_view text) const {
    const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) refuse("this is no JSON");
    if (object.contains(kTimeColumn)) {
      return {number_member(object, kTimeColumn), number_member(object, kInputColumn),
              number_member(object, kOutputColumn)};
    }
    if (!object.contains("timestamp")) {
      refuse("the object has no \"timestamp\" (milliseconds) or \"Timestamp\" (seconds)");
    }
    TraceLine line{number_member(object, "timestamp") / 1e3, number_member(object, "input_length"),
                   number_member(object, "output_length")};
    const auto blocks = object.find("hash_ids");
    if (blocks == object.end()) return line;
    if (!blocks->is_array()) refuse("\"hash_ids\" should be a list");
    if (static_cast<double>(blocks->size()) > kMostTraceTokens / kTraceBlockTokens + 1) {
      refuse("\"hash_ids\" has more blocks than the longest prompt");
    }
    for (const json& block : *blocks) {
      if (!block.is_number_unsigned()) refuse("\"hash_ids\" should be whole numbers");
      line.blocks.push_back(block.get<uint64_t>());
    }
    return line;
  }

  // Fields have no commas in them; quotes around them do not count.
  static std::vector<std::string_view> fields_of(std::string_view line) {
    std::vector<std::string_view> fields;
    while (true) {
      const size_t comma = line.find(',');
      std::string_view field = line.substr(0, comma);
      while (!field.empty() && (field.front() == ' ' || field.front() == '"')) {
        field.remove_prefix(1);
      }
      while (!field.empty() && (field.back() == ' ' || field.back() == '"')) {
        field.remove_suffix(1);
      }
      fields.push_back(field);
      if (comma == std::string_view::npos) return fields;
      line.remove_prefix(comma + 1);
    }
  }

  Columns read_header(std::string_view line) const {
    constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
    if (line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
    const std::vector<std::string_view> fields = fields_of(line);
    const auto column = [&](const char* title) {
      const auto found = std::find(fields.begin(), fields.end(), title);
      if (found == fields.end()) {
        refuse(std::string("there is no column \"") + title +
               "\": a trace is JSON lines with timestamp, input_length and output_length, or CSV "
               "with Timestamp, Request tokens and Response tokens");
      }
      return static_cast<size_t>(found - fields.begin());
    };
    return {column(kTimeColumn), column(kInputColumn), column(kOutputColumn)};
  }

  TraceLine read_row(std::string_view line) const {
    const std::vector<std::string_view> fields = fields_of(line);
    const auto number = [&](size_t column, const char* title) {
      double value = 0;
      if (column < fields.size()) {
        const std::string_view field = fields[column];
        const char* const end = field.data() + field.size();
        const auto [stop, error] = std::from_chars(field.data(), end, value);
        if (error == std::errc() && stop == end && !field.empty()) return value;
      }
      refuse(std::string("\"") + title + "\" should be a number");
    };
    return {number(columns_->time, kTimeColumn), number(columns_->input, kInputColumn),
            number(columns_->output, kOutputColumn)};
  }

  int whole_tokens(double value, const char* what) const {
    if (!(value >= 0 && value <= kMostTraceTokens) || value != std::floor(value)) {
      refuse(std::string("the tokens of the ") + what +
             " should be a whole number, at most 1000000");
    }
    return static_cast<int>(value);
  }

  void add(TraceLine line) {
    if (!(line.seconds >= 0 && line.seconds <= kMostTraceSeconds)) {
      refuse("the time should be from 0 to 1000000000 seconds");
    }
    TraceRequest request;
    request.due = std::chrono::nanoseconds(std::llround(line.seconds * 1e9));
    request.input_tokens = whole_tokens(line.input_tokens, "prompt");
    request.output_tokens = whole_tokens(line.output_tokens, "reply");
    request.blocks = std::move(line.blocks);
    if (request.output_tokens == 0) {
      ++trace_.num_left_out;
    } else {
      trace_.requests.push_back(std::move(request));
    }
  }

  const std::string& name_;
  size_t number_ = 0;
  std::optional<Columns> columns_;
  Trace trace_;
};

}  // namespace

Trace parse_trace(std::string_view text, const std::string& name) {
  TraceReader reader(name);
  for_each_line(text, [&](std::string_view line, size_t number) { reader.take(line, number); });
  return reader.finish();
}

Trace read_trace(const std::string& path) {
  return parse_trace(read_small_file(path, kMaxTraceFileBytes), path);
}

}  // namespace sluice::measure
