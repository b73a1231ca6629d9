#include "api/options.h"

#include <array>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace sluice::api {
namespace {

template <typename T>
struct Field {
  std::string_view name;
  std::optional<T> ModelOptions::*member;
};

constexpr std::array kIntegers = {
    Field<int>{"top_k", &ModelOptions::top_k},
    Field<int>{"repeat_last_n", &ModelOptions::repeat_last_n},
    Field<int>{"num_predict", &ModelOptions::num_predict},
    Field<int>{"num_keep", &ModelOptions::num_keep},
    Field<int>{"num_ctx", &ModelOptions::num_ctx},
    Field<int>{"num_batch", &ModelOptions::num_batch},
    Field<int>{"num_gpu", &ModelOptions::num_gpu},
    Field<int>{"main_gpu", &ModelOptions::main_gpu},
    Field<int>{"num_thread", &ModelOptions::num_thread},
    Field<int>{"draft_num_predict", &ModelOptions::draft_num_predict},
};

constexpr std::array kFloats = {
    Field<float>{"temperature", &ModelOptions::temperature},
    Field<float>{"top_p", &ModelOptions::top_p},
    Field<float>{"min_p", &ModelOptions::min_p},
    Field<float>{"typical_p", &ModelOptions::typical_p},
    Field<float>{"repeat_penalty", &ModelOptions::repeat_penalty},
    Field<float>{"presence_penalty", &ModelOptions::presence_penalty},
    Field<float>{"frequency_penalty", &ModelOptions::frequency_penalty},
};

[[noreturn]] void fail_option(std::string_view name, std::string_view what) {
  throw Error(ErrorCode::kInvalidArgument,
              "option \"" + std::string(name) + "\" " + std::string(what));
}

// Whole part of a number, within [min, max].
int64_t integer_value(std::string_view name, const Json& value, int64_t min, int64_t max) {
  if (!value.is_number()) fail_option(name, "must be of type integer");
  if (value.is_number_float()) {
    const double number = std::trunc(value.get<double>());
    // Doubles of this size are whole; the upper limit may round up to 2^63.
    const bool is_in_range =
        number >= static_cast<double>(min) && number <= static_cast<double>(max) && number < 0x1p63;
    if (!is_in_range) fail_option(name, "is out of range");
    return static_cast<int64_t>(number);
  }
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (std::cmp_greater(number, max)) fail_option(name, "is out of range");
    return static_cast<int64_t>(number);
  }
  const auto number = value.get<int64_t>();
  if (number < min || number > max) fail_option(name, "is out of range");
  return number;
}

float float_value(std::string_view name, const Json& value) {
  if (!value.is_number()) fail_option(name, "must be of type float32");
  const double number = value.get<double>();
  if (!(std::abs(number) <= double{std::numeric_limits<float>::max()})) {
    fail_option(name, "is out of range");
  }
  return static_cast<float>(number);
}

std::vector<std::string> stops_value(std::string_view name, const Json& value) {
  if (!value.is_array()) fail_option(name, "must be of type array");
  if (value.size() > engine::kMaxStopStrings) {
    fail_option(name, "holds more than " + std::to_string(engine::kMaxStopStrings) + " strings");
  }
  std::vector<std::string> strings;
  for (const Json& item : value) {
    if (!item.is_string()) fail_option(name, "must be of an array of strings");
    strings.push_back(item.get<std::string>());
  }
  return strings;
}

bool set_number(ModelOptions& options, std::string_view name, const Json& value) {
  for (const auto& field : kIntegers) {
    if (field.name != name) continue;
    constexpr int kMax = std::numeric_limits<int>::max();
    // More than fits is as good as no limit at all.
    const bool is_huge = name == "num_predict" && value.is_number() && value.get<double>() > kMax;
    options.*field.member =
        is_huge
            ? kMax
            : static_cast<int>(integer_value(name, value, std::numeric_limits<int>::min(), kMax));
    return true;
  }
  for (const auto& field : kFloats) {
    if (field.name != name) continue;
    options.*field.member = float_value(name, value);
    return true;
  }
  return false;
}

void set_option(ModelOptions& options, std::string_view name, const Json& value) {
  if (set_number(options, name, value)) return;
  if (name == "seed") {
    options.seed = integer_value(name, value, std::numeric_limits<int64_t>::min(),
                                 std::numeric_limits<int64_t>::max());
  } else if (name == "use_mmap") {
    if (!value.is_boolean()) fail_option(name, "must be of type boolean");
    options.use_mmap = value.get<bool>();
  } else if (name == "stop") {
    options.stop = stops_value(name, value);
  } else {
    constexpr size_t kMaxReported = 100;
    if (options.unknown.size() < kMaxReported) options.unknown.emplace_back(name);
  }
}

template <typename T>
void overlay(std::optional<T>& base, const std::optional<T>& over) {
  if (over) base = over;
}

}  // namespace

ModelOptions parse_options(const Json& object) {
  if (!object.is_object()) {
    throw Error(ErrorCode::kInvalidArgument, "field \"options\" must be an object");
  }
  ModelOptions options;
  for (const auto& [name, value] : object.get_ref<const Json::object_t&>()) {
    if (!value.is_null()) set_option(options, name, value);
  }
  if (options.num_predict == 0) options.num_predict = -1;  // as with Ollama
  return options;
}

ModelOptions merge_options(const ModelOptions& base, const ModelOptions& over) {
  ModelOptions merged = base;
  for (const auto& field : kIntegers) overlay(merged.*field.member, over.*field.member);
  for (const auto& field : kFloats) overlay(merged.*field.member, over.*field.member);
  overlay(merged.penalize_prompt, over.penalize_prompt);
  overlay(merged.seed, over.seed);
  overlay(merged.stop, over.stop);
  overlay(merged.use_mmap, over.use_mmap);
  merged.unknown.insert(merged.unknown.end(), over.unknown.begin(), over.unknown.end());
  return merged;
}

engine::SamplingParams to_sampling(const ModelOptions& options) {
  engine::SamplingParams params;
  params.temperature = options.temperature.value_or(params.temperature);
  params.top_k = options.top_k.value_or(params.top_k);
  params.top_p = options.top_p.value_or(params.top_p);
  params.min_p = options.min_p.value_or(params.min_p);
  params.typical_p = options.typical_p.value_or(params.typical_p);
  params.repeat_last_n = options.repeat_last_n.value_or(params.repeat_last_n);
  params.repeat_penalty = options.repeat_penalty.value_or(params.repeat_penalty);
  params.presence_penalty = options.presence_penalty.value_or(params.presence_penalty);
  params.frequency_penalty = options.frequency_penalty.value_or(params.frequency_penalty);
  params.penalize_prompt = options.penalize_prompt.value_or(params.penalize_prompt);
  if (options.seed && *options.seed >= 0) params.seed = static_cast<uint64_t>(*options.seed);
  return params;
}

void apply_options(const ModelOptions& options, engine::Request& request) {
  request.sampling = to_sampling(options);
  const int num_predict = options.num_predict.value_or(-1);
  request.max_tokens = std::max(-1, num_predict);
  request.context_limit = std::max(0, options.num_ctx.value_or(0));
  request.num_keep = std::max(-1, options.num_keep.value_or(request.num_keep));
  if (options.draft_num_predict) request.speculate = *options.draft_num_predict > 0;
  request.stop_strings.clear();
  for (const std::string& stop : options.stop.value_or(std::vector<std::string>{})) {
    if (!stop.empty()) request.stop_strings.push_back(stop);
  }
}

std::string format_parameters(const Json& params) {
  constexpr size_t kKeyColumns = 30;
  std::string text;
  const auto add_line = [&](const std::string& key, const Json& value) {
    if (!text.empty()) text += '\n';
    text += key + std::string(kKeyColumns - std::min(kKeyColumns, key.size()) + 1, ' ');
    text += dump_json(value);
  };
  if (!params.is_object()) return text;
  for (const auto& [key, value] : params.get_ref<const Json::object_t&>()) {
    if (!value.is_array()) {
      add_line(key, value);
      continue;
    }
    for (const Json& item : value) add_line(key, item);
  }
  return text;
}

}  // namespace sluice::api
