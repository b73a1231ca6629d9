#include "server/prometheus_text.h"

#include <charconv>
#include <cmath>

namespace sluice::server {
namespace {

// Quotation marks are escaped only within them.
void append_escaped(std::string& out, std::string_view text, bool is_quoted) {
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && is_quoted) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
}

// The shortest text that reads back as the number.
std::string number_text(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  return std::string(buffer, error == std::errc() ? end : buffer);
}

std::string_view type_name(PrometheusText::Type type) {
  switch (type) {
    case PrometheusText::Type::kGauge:
      return "gauge";
    case PrometheusText::Type::kCounter:
      return "counter";
    case PrometheusText::Type::kHistogram:
      break;
  }
  return "histogram";
}

}  // namespace

void PrometheusText::begin_family(std::string_view name, Type type, std::string_view help) {
  name_ = name;
  text_ += "# HELP ";
  text_ += name;
  text_ += ' ';
  append_escaped(text_, help, false);
  text_ += "\n# TYPE ";
  text_ += name;
  text_ += ' ';
  text_ += type_name(type);
  text_ += '\n';
}

void PrometheusText::begin_sample(std::string_view suffix, const Labels& labels,
                                  std::string_view bound) {
  text_ += name_;
  text_ += suffix;
  char separator = '{';
  const auto add_label = [&](std::string_view name, std::string_view value) {
    text_ += separator;
    text_ += name;
    text_ += "=\"";
    append_escaped(text_, value, true);
    text_ += '"';
    separator = ',';
  };
  for (const auto& [name, value] : labels) add_label(name, value);
  if (!bound.empty()) add_label("le", bound);
  if (separator == ',') text_ += '}';
  text_ += ' ';
}

void PrometheusText::add(const Labels& labels, double value) {
  begin_sample("", labels);
  text_ += number_text(value);
  text_ += '\n';
}

void PrometheusText::add(const Labels& labels, uint64_t value) {
  begin_sample("", labels);
  text_ += std::to_string(value);
  text_ += '\n';
}

void PrometheusText::add(const Labels& labels, const engine::Histogram& histogram) {
  uint64_t count = 0;
  for (size_t i = 0; i < histogram.bounds.size(); ++i) {
    count += histogram.counts[i];
    begin_sample("_bucket", labels, number_text(histogram.bounds[i]));
    text_ += std::to_string(count) + '\n';
  }
  count += histogram.counts[histogram.bounds.size()];
  begin_sample("_bucket", labels, "+Inf");
  text_ += std::to_string(count) + '\n';
  begin_sample("_sum", labels);
  text_ += number_text(histogram.sum) + '\n';
  begin_sample("_count", labels);
  text_ += std::to_string(count) + '\n';
}

}  // namespace sluice::server
