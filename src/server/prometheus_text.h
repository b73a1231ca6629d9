#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/histogram.h"

namespace sluice::server {

// Prometheus' text format, version 0.0.4: families one behind the other, each with its samples.
class PrometheusText {
 public:
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

  enum class Type { kGauge, kCounter, kHistogram };
  // Values may be any text.
  using Label = std::pair<std::string_view, std::string_view>;
  using Labels = std::vector<Label>;

  // The samples that follow are its own. A name comes once.
  void begin_family(std::string_view name, Type type, std::string_view help);
  void add(const Labels& labels, double value);
  void add(const Labels& labels, uint64_t value);
  void add(const Labels& labels, int value) { add(labels, static_cast<double>(value)); }
  void add(const Labels& labels, const engine::Histogram& histogram);

  std::string take() { return std::move(text_); }

 private:
  void begin_sample(std::string_view suffix, const Labels& labels, std::string_view bound = {});

  std::string text_;
  std::string name_;
};

}  // namespace sluice::server
