#include "measure/run_witness.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string_view>

#include "backend/cpu/ceilings.h"
#include "base/cpu_features.h"
#include "base/error.h"
#include "base/threads.h"
#include "machine/disk.h"
#include "machine/gpu.h"
#include "machine/proc.h"
#include "measure/plan.h"
#include "measure/told.h"
#include "quant/types.h"

namespace sluice::measure {
namespace {

using nlohmann::json;

// The reply's object; an empty one for anything else.
json ask(http::Client& client, const char* method, const char* target, const json& body) {
  try {
    http::Request request{.method = method, .target = target};
    if (!body.is_null()) request.body = body.dump();
    const http::Response response = client.send(request);
    json document = json::parse(response.body, nullptr, false);
    if (response.status == 200 && document.is_object()) return document;
  } catch (const Error&) {  // it is not known, then
  }
  return json::object();
}

const json& object_member(const json& object, const char* key) {
  static const json kEmpty = json::object();
  const auto found = object.find(key);
  return found != object.end() ? *found : kEmpty;
}

double num_elements(const json& shape) {
  double elements = 1;
  for (const json& length : shape) elements *= length.is_number() ? length.get<double>() : 0;
  return elements;
}

std::optional<double> tensor_bytes(const std::string& type, const json& shape) {
  const quant::TypeInfo* info = quant::find_type(type);
  if (info == nullptr || !shape.is_array()) return std::nullopt;
  return num_elements(shape) / info->block_elements * info->block_bytes;
}

// "blk.7.attn_q.weight" is "blk.*.attn_q.weight".
std::string name_in_all_layers(std::string name) {
  constexpr std::string_view kLayer = "blk.";
  const size_t end = name.find('.', kLayer.size());
  if (name.starts_with(kLayer) && end != std::string::npos) {
    name.replace(kLayer.size(), end - kLayer.size(), "*");
  }
  return name;
}

void add_to_table(const std::string& name, const std::string& type, double bytes, RunModel& model) {
  constexpr size_t kMostLines = 300;
  const auto found =
      std::find_if(model.tensors.begin(), model.tensors.end(),
                   [&](const RunTensors& one) { return one.name == name && one.type == type; });
  if (found == model.tensors.end() && model.tensors.size() >= kMostLines) return;
  RunTensors& line =
      found != model.tensors.end() ? *found : model.tensors.emplace_back(RunTensors{name, type});
  ++line.count;
  line.bytes += bytes;
}

// A decode step reads each matrix once; of the embedding one row, unless it is the output matrix
// too.
void add_tensors(const json& tensors, RunModel& model) {
  if (!tensors.is_array()) return;
  const bool is_tied = std::none_of(tensors.begin(), tensors.end(), [](const json& tensor) {
    return tensor.is_object() && told_text(tensor, "name") == "output.weight";
  });
  for (const json& tensor : tensors) {
    if (!tensor.is_object()) continue;
    const std::string type = told_text(tensor, "type");
    const json& shape = object_member(tensor, "shape");
    const auto bytes = tensor_bytes(type, shape);
    if (!bytes) continue;
    model.bytes_by_type[type] += *bytes;
    add_to_table(name_in_all_layers(told_text(tensor, "name")), type, *bytes, model);
    const bool is_looked_up = told_text(tensor, "name") == "token_embd.weight" && !is_tied;
    if (shape.size() < 2 || is_looked_up) continue;
    model.token_read_bytes += *bytes;
    constexpr double kMultiplyAndAdd = 2;
    model.token_operations += kMultiplyAndAdd * num_elements(shape);
  }
}

void add_show(const json& show, RunModel& model) {
  const json& details = object_member(show, "details");
  model.parameter_size = told_text(details, "parameter_size");
  model.quantization = told_text(details, "quantization_level");
  const json& info = object_member(show, "model_info");
  model.architecture = told_text(info, "general.architecture");
  const auto of_architecture = [&](const char* key) {
    return told_number(info, model.architecture + "." + key);
  };
  model.trained_context = static_cast<int>(std::min(of_architecture("context_length"), 1e9));
  const double heads = of_architecture("attention.head_count");
  double head_length = of_architecture("attention.key_length");
  if (head_length == 0 && heads > 0) head_length = of_architecture("embedding_length") / heads;
  const std::string kv_heads = model.architecture + ".attention.head_count_kv";
  constexpr double kKeyAndValue = 2, kBytes = 2;
  model.cache_token_bytes = kKeyAndValue * kBytes * of_architecture("block_count") *
                            told_number(info, kv_heads, heads) * head_length;
  add_tensors(object_member(show, "tensors"), model);
}

void add_status(const json& status, const std::string& name, RunModel& model) {
  for (const json& one : object_member(status, "models")) {
    if (!one.is_object() ||
        (told_text(one, "name") != name && told_text(one, "name") != name + ":latest")) {
      continue;
    }
    model.backend = told_text(one, "backend");
    model.context = static_cast<int>(std::min(told_number(one, "context_length"), 1e9));
    const json& memory = object_member(one, "memory");
    model.weights_bytes = told_number(memory, "weights");
    model.workspace_bytes = told_number(memory, "workspace");
    model.cache_bytes = told_number(memory, "cache");
  }
}

std::string lower_case(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// "NVIDIA H200" is "h200" of the list of data sheets; null for one that is not there.
const Ceilings* data_sheet(const machine::GpuSample& gpu) {
  const std::string name = lower_case(gpu.name);
  const bool is_large = gpu.memory_total_bytes.value_or(0) > uint64_t{60'000'000'000};
  if (name.find("a100") != std::string::npos) return find_gpu(is_large ? "a100-80" : "a100-40");
  if (name.find("h100") != std::string::npos && name.find("pcie") != std::string::npos) {
    return find_gpu("h100-pcie");
  }
  std::string joined = name;
  std::erase(joined, ' ');
  const Ceilings* best = nullptr;
  for (const std::string& known : gpu_names()) {
    const bool is_longer = best == nullptr || known.size() > best->name.size();
    if (is_longer && joined.find(known) != std::string::npos) best = find_gpu(known);
  }
  return best;
}

RunCard largest_card(const std::vector<machine::GpuLimits>& cards) {
  RunCard largest;
  const auto take = [](double& most, const auto& value) {
    if (value) most = std::max(most, static_cast<double>(*value));
  };
  for (const machine::GpuLimits& card : cards) {
    take(largest.memory_bytes, card.memory_bytes);
    take(largest.power_watts, card.power_watts);
    take(largest.clock_mhz, card.sm_clock_mhz);
    take(largest.temperature_celsius, card.temperature_celsius);
    take(largest.pcie_bytes_per_second, card.pcie_bytes_per_second);
  }
  return largest;
}

}  // namespace

RunModel ask_model(http::Client& client, const std::string& name) {
  RunModel model;
  const json status = ask(client, "GET", "/api/sluice/status", nullptr);
  // At /api/version we name the Ollama whose place we take.
  const json version = status.empty() ? ask(client, "GET", "/api/version", nullptr) : status;
  if (version.contains("version")) {
    model.server = (status.empty() ? "Ollama " : "Sluice ") + told_text(version, "version");
  }
  add_show(ask(client, "POST", "/api/show", {{"model", name}, {"verbose", true}}), model);
  add_status(status, name, model);
  if (status.empty()) add_status(ask(client, "GET", "/api/ps", nullptr), name, model);
  return model;
}

std::string ask_model_path(http::Client& client, const std::string& name) {
  const json show = ask(client, "POST", "/api/show", {{"model", name}});
  std::istringstream modelfile(told_text(show, "modelfile"));
  constexpr std::string_view kFrom = "FROM /";
  for (std::string line; std::getline(modelfile, line);) {
    if (line.starts_with(kFrom)) return line.substr(kFrom.size() - 1);
  }
  return "";
}

void measure_ceilings(RunMachine& machine) {
  const bool is_this_one = machine.processor == cpu_model_name() && machine.cores == usable_cores();
  if (!is_this_one || machine.read_bytes_per_second > 0) return;
  machine.read_bytes_per_second = backend::cpu::measure_read_bandwidth(machine.cores);
  machine.operations_per_second = backend::cpu::measure_product_rate(machine.cores);
}

RunMachine look_at_this_machine(bool measures_ceilings, const std::string& model_path) {
  RunMachine machine;
  machine.processor = cpu_model_name();
  machine.cores = usable_cores();
  machine.memory_bytes = static_cast<double>(machine::sample_machine().memory.total_bytes);
  if (measures_ceilings) {
    machine.read_bytes_per_second = backend::cpu::measure_read_bandwidth(machine.cores);
    machine.operations_per_second = backend::cpu::measure_product_rate(machine.cores);
    machine.disk_bytes_per_second = machine::measure_disk_speed(model_path).value_or(0);
  }
  machine.power_watts = machine::read_power_limit_watts().value_or(0);
  machine.card = largest_card(machine::Gpus().limits());
  for (const machine::GpuSample& gpu : machine::Gpus().sample()) {
    machine.gpus.push_back(gpu.name);
    const Ceilings* sheet = data_sheet(gpu);
    if (sheet == nullptr) continue;
    machine.read_bytes_per_second = sheet->read_bytes_per_second;
    machine.operations_per_second = sheet->operations_per_second;
  }
  return machine;
}

}  // namespace sluice::measure
