#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <sstream>

#include "server/fake_loaded_model.h"
#include "server/prometheus_text.h"

namespace sluice::server {
namespace {

using testing::HasSubstr;
using testing::Not;
using Type = PrometheusText::Type;

TEST(PrometheusTextTest, WritesFamiliesWithTheirSamples) {
  PrometheusText text;
  text.begin_family("a_total", Type::kCounter, "how many\nof \\ \"them\"");
  text.add({}, uint64_t{18446744073709551615u});
  text.add({{"name", "a\"b\\c\nd"}, {"other", ""}}, 0.1);
  text.begin_family("b", Type::kGauge, "now");
  text.add({}, -2);
  text.add({}, std::numeric_limits<double>::infinity());
  text.add({}, std::nan(""));
  EXPECT_EQ(text.take(),
            "# HELP a_total how many\\nof \\\\ \"them\"\n"
            "# TYPE a_total counter\n"
            "a_total 18446744073709551615\n"
            "a_total{name=\"a\\\"b\\\\c\\nd\",other=\"\"} 0.1\n"
            "# HELP b now\n"
            "# TYPE b gauge\n"
            "b -2\nb +Inf\nb NaN\n");
}

TEST(PrometheusTextTest, BucketsAddUp) {
  static constexpr std::array kBounds = {0.5, 10.0};
  engine::Histogram histogram(kBounds);
  for (const double value : {0.25, 0.5, 2.0, 100.0}) histogram.add(value);
  PrometheusText text;
  text.begin_family("h", Type::kHistogram, "x");
  text.add({{"m", "y"}}, histogram);
  EXPECT_THAT(text.take(), HasSubstr("h_bucket{m=\"y\",le=\"0.5\"} 2\n"
                                     "h_bucket{m=\"y\",le=\"10\"} 3\n"
                                     "h_bucket{m=\"y\",le=\"+Inf\"} 4\n"
                                     "h_sum{m=\"y\"} 102.75\n"
                                     "h_count{m=\"y\"} 4\n"));
}

// "name{labels}" to the value, of all samples; checks that each family is declared once, before its
// samples, and that no sample comes twice.
std::map<std::string, double> read_samples(const std::string& text) {
  std::map<std::string, double> samples;
  std::set<std::string> families;
  std::string family;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# HELP ")) {
      family = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(families.insert(family).second) << family;
    } else if (line.starts_with("# TYPE ")) {
      EXPECT_TRUE(line.starts_with("# TYPE " + family + " ")) << line;
    } else {
      EXPECT_TRUE(line.starts_with(family)) << line << " in " << family;
      const size_t space = line.rfind(' ');
      EXPECT_TRUE(samples.emplace(line.substr(0, space), std::stod(line.substr(space + 1))).second)
          << line;
    }
  }
  return samples;
}

MetricsFacts example() {
  MetricsFacts facts;
  facts.server.num_connections = 3;
  facts.server.max_memory_bytes = 8'000'000'000;
  ModelStatus model;
  model.record = test::fake_record("fake:1");
  model.backend_description = "cpu \"avx2\"";
  model.memory.weights = 100;
  model.num_waiting_for_load = 2;
  model.engine.num_running = 4;
  model.engine.num_waiting = 5;
  model.engine.num_blocks_total = 200;
  model.engine.num_blocks_used = 50;
  facts.models.push_back(model);
  engine::EngineTotals totals;
  totals.num_prompt_tokens = 30;
  totals.num_cached_tokens = 12;
  totals.num_output_tokens = 1000;
  totals.forward_time = std::chrono::milliseconds(1500);
  totals.num_ended[static_cast<size_t>(engine::FinishReason::kEndOfSequence)] = 6;
  totals.num_ended[static_cast<size_t>(engine::FinishReason::kStopString)] = 1;
  totals.num_ended[static_cast<size_t>(engine::FinishReason::kDeadline)] = 2;
  totals.time_to_first_token.add(0.2);
  totals.reply_length.add(7.0);
  facts.totals["fake:1"] = totals;
  facts.totals["gone:1"] = totals;
  return facts;
}

TEST(Metrics, TellWhatRunsByModel) {
  const auto samples = read_samples(encode_metrics(example(), MetricsCompat::kNone));
  EXPECT_EQ(samples.at("sluice_connections"), 3);
  EXPECT_EQ(samples.at("sluice_requests_running{model_name=\"fake:1\"}"), 4);
  EXPECT_EQ(samples.at("sluice_requests_waiting{model_name=\"fake:1\"}"), 7);  // two for the load
  EXPECT_EQ(samples.at("sluice_kv_cache_usage_ratio{model_name=\"fake:1\"}"), 0.25);
  EXPECT_EQ(samples.at("sluice_forward_seconds_total{model_name=\"fake:1\"}"), 1.5);
  EXPECT_EQ(samples.at("sluice_cache_config_info{model_name=\"fake:1\",block_size=\"16\","
                       "num_blocks=\"200\"}"),
            1);
  EXPECT_EQ(samples.at("sluice_request_ends_total{model_name=\"fake:1\",reason=\"deadline\"}"), 2);
  EXPECT_EQ(samples.at("sluice_time_to_first_token_seconds_bucket{model_name=\"fake:1\","
                       "le=\"0.25\"}"),
            1);
}

TEST(Metrics, TotalsOfAModelStayWhenItIsUnloaded) {
  const auto samples = read_samples(encode_metrics(example(), MetricsCompat::kNone));
  EXPECT_EQ(samples.at("sluice_generation_tokens_total{model_name=\"gone:1\"}"), 1000);
  EXPECT_EQ(samples.at("sluice_requests_running{model_name=\"gone:1\"}"), 0);
  EXPECT_FALSE(
      samples.contains("sluice_cache_config_info{model_name=\"gone:1\",block_size=\"16\","
                       "num_blocks=\"0\"}"));
}

TEST(Metrics, WithoutAnyModelTheGaugesAreThere) {
  const auto samples = read_samples(encode_metrics({}, MetricsCompat::kVllm));
  EXPECT_EQ(samples.at("sluice_requests_waiting{model_name=\"\"}"), 0);
  EXPECT_EQ(samples.at("sluice_kv_cache_usage_ratio{model_name=\"\"}"), 0);
  EXPECT_EQ(samples.at("vllm:num_requests_waiting{engine=\"0\",model_name=\"\"}"), 0);
}

TEST(Metrics, SpeakVllmsNamesWhenAsked) {
  const std::string plain = encode_metrics(example(), MetricsCompat::kNone);
  EXPECT_THAT(plain, Not(HasSubstr("vllm")));
  const std::string both = encode_metrics(example(), MetricsCompat::kVllm);
  EXPECT_TRUE(both.starts_with(plain));
  const auto samples = read_samples(both);
  const std::string labels = "{engine=\"0\",model_name=\"fake:1\"}";
  EXPECT_EQ(samples.at("vllm:num_requests_running" + labels), 4);
  EXPECT_EQ(samples.at("vllm:num_requests_waiting" + labels), 7);
  EXPECT_EQ(samples.at("vllm:kv_cache_usage_perc" + labels), 0.25);
  EXPECT_EQ(samples.at("vllm:prompt_tokens_total" + labels), 42);
  EXPECT_EQ(samples.at("vllm:prefix_cache_hits_total" + labels), 12);
  const auto ends = [&](const std::string& reason) {
    return samples.at(
        "vllm:request_success_total{engine=\"0\",model_name=\"fake:1\","
        "finished_reason=\"" +
        reason + "\"}");
  };
  EXPECT_EQ(ends("stop"), 7);
  EXPECT_EQ(ends("abort"), 2);
  EXPECT_EQ(ends("length"), 0);
  EXPECT_EQ(samples.at("vllm:request_params_n_sum" + labels), 1);
  EXPECT_EQ(samples.at("vllm:cache_config_info{model_name=\"fake:1\",engine=\"0\","
                       "block_size=\"16\",num_gpu_blocks=\"200\"}"),
            1);
}

TEST(Metrics, CardsTellWhatTheyCan) {
  MetricsFacts facts;
  EXPECT_THAT(encode_metrics(facts, MetricsCompat::kNone), Not(HasSubstr("sluice_gpu")));
  machine::GpuSample gpu;
  gpu.name = "H200";
  gpu.busy_percent = 97;
  gpu.sm_clock_mhz = 1980;
  gpu.energy_joules = 1234.5;
  facts.gpus = {gpu};
  const auto samples = read_samples(encode_metrics(facts, MetricsCompat::kNone));
  EXPECT_DOUBLE_EQ(samples.at("sluice_gpu_utilization_ratio{gpu=\"0\",name=\"H200\"}"), 0.97);
  EXPECT_EQ(samples.at("sluice_gpu_energy_joules_total{gpu=\"0\",name=\"H200\"}"), 1234.5);
  EXPECT_EQ(samples.at("sluice_gpu_clock_hertz{gpu=\"0\",name=\"H200\"}"), 1.98e9);
  EXPECT_FALSE(samples.contains("sluice_gpu_power_watts{gpu=\"0\",name=\"H200\"}"));
}

}  // namespace
}  // namespace sluice::server
