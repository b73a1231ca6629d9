#include "measure/plan.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/cpu/ceilings.h"
#include "base/cpu_features.h"
#include "base/error.h"
#include "base/input_file.h"
#include "base/memory.h"
#include "base/memory_file.h"
#include "base/print.h"
#include "base/threads.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/server_options.h"
#include "cli/settings.h"
#include "cli/suggest.h"
#include "cli/terminal.h"
#include "machine/disk.h"
#include "measure/shapes.h"
#include "model/model.h"
#include "model/placement.h"
#include "registry/model_front.h"

namespace sluice::cli {
namespace {

struct PlanFlags {
  std::string model;
  std::string quant;
  std::vector<int> contexts;
  std::vector<int> users = {1, 4, 16};
  std::string cache_type;
  std::string gpu;
  std::string memory;
  std::string bandwidth;
  std::string device;
  std::optional<int> gpu_layers;
  int threads = 0;
  bool insecure = false;
  bool is_json = false;
};

// A model's head, and where it lies on the disk ("" when it does not).
struct Source {
  gguf::File file;
  std::string path;
  std::string label;
};

// From the head that a registry has, of which nothing is kept.
Source open_remote(const PlanFlags& flags) {
  const Settings settings = read_settings();
  const auto reference = registry::Reference::parse(flags.model, flags.insecure);
  std::optional<gguf::File> file;
  const auto is_enough = [&](const registry::ModelFront& front) {
    MemoryFile memory(front.size_bytes);
    memory.write(0, std::as_bytes(std::span(front.bytes)));
    try {
      file = gguf::File::open(memory.path());
    } catch (const Error& error) {  // perhaps for what has not come yet
      if (error.code() != ErrorCode::kCorruptData || front.bytes.size() == front.size_bytes) throw;
      return false;
    }
    return file->head_bytes() <= front.bytes.size();
  };
  Spinner spinner("fetching the head of " + printable(flags.model));
  registry::fetch_front(reference, registry_options(settings), is_enough, {});
  return {std::move(*file), "", flags.model + " (in its registry)"};
}

Source open_source(const PlanFlags& flags) {
  const measure::Shape* shape = measure::find_shape(flags.model);
  if (!flags.quant.empty()) {
    if (shape == nullptr) {
      throw Error(ErrorCode::kNotFound, "--quant is for a well-known shape, and '" + flags.model +
                                            "' is none" + near_shapes(flags.model));
    }
    return {measure::shape_file(*shape, flags.quant), "",
            std::string(shape->name) + " in " + flags.quant};
  }
  try {
    const std::string path = resolve_model_path(flags.model);
    return {gguf::File::open(path), path, flags.model};
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound || is_model_path(flags.model)) throw;
    if (shape == nullptr && read_settings().is_offline) {
      throw Error(error.code(), error.what() + near_shapes(flags.model));
    }
  }
  if (shape == nullptr) return open_remote(flags);
  const std::string quant = "q4_K_M";
  return {measure::shape_file(*shape, quant), "",
          std::string(shape->name) + " in " + quant + " (not in the store: its published shape)"};
}

double parse_bandwidth(std::string text) {
  if (text.ends_with("/s")) text.resize(text.size() - 2);
  return static_cast<double>(parse_size(text, "--bandwidth"));
}

measure::Ceilings this_machine(int num_threads) {
  measure::Ceilings machine;
  machine.name = cpu_model_name() + ", " + std::to_string(num_threads) + " threads";
  machine.memory_bytes = available_memory_bytes();
  return machine;
}

measure::Ceilings find_machine(const PlanFlags& flags, int num_threads) {
  measure::Ceilings machine;
  if (!flags.gpu.empty()) {
    const measure::Ceilings* found = measure::find_gpu(flags.gpu);
    if (found == nullptr) {
      std::string known;
      for (const std::string& name : measure::gpu_names()) {
        known += (known.empty() ? "" : ", ") + name;
      }
      throw Error(ErrorCode::kInvalidArgument, "there is no GPU '" + flags.gpu + "' in the list (" +
                                                   known +
                                                   "); give --memory and --bandwidth instead");
    }
    machine = *found;
  } else if (flags.memory.empty() || flags.bandwidth.empty()) {
    machine = this_machine(num_threads);
  }
  if (!flags.memory.empty()) machine.memory_bytes = parse_size(flags.memory, "--memory");
  if (!flags.bandwidth.empty()) machine.read_bytes_per_second = parse_bandwidth(flags.bandwidth);
  if (machine.name.empty()) machine.name = "the machine described";
  if (machine.read_bytes_per_second == 0) {
    Spinner spinner("measuring the memory's speed");
    machine.read_bytes_per_second = backend::cpu::measure_read_bandwidth(num_threads);
  }
  const bool is_this_one = flags.gpu.empty() && flags.bandwidth.empty();
  if (is_this_one && machine.operations_per_second == 0) {
    machine.operations_per_second = backend::cpu::measure_product_rate(num_threads);
  }
  return machine;
}

// 131,072
std::string grouped(int64_t number) {
  std::string text = std::to_string(number);
  for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3) {
    text.insert(static_cast<size_t>(at), ",");
  }
  return text;
}

std::string speed(double tokens_per_second) {
  char text[32];
  std::snprintf(text, sizeof text, tokens_per_second < 100 ? "%.1f" : "%.0f", tokens_per_second);
  return text;
}

std::string gigabytes_per_second(double rate) {
  char text[32];
  std::snprintf(text, sizeof text, rate < 100e9 ? "%.1f GB/s" : "%.0f GB/s", rate / 1e9);
  return text;
}

// All that is printed, whatever the form.
struct Report {
  Source source;
  measure::Ceilings machine;
  measure::ModelPlan plan;
  std::string cache_type;
  uint64_t cache_token_bytes = 0;
  std::vector<int> contexts;
  std::vector<int> users;
  std::optional<double> disk;
  // Where a server would load it now; empty when that is not asked, or nowhere.
  std::vector<model::PlannedStage> stages;
  std::string why_nowhere;
};

constexpr int kShortContext = 1024;

// As `sluice serve` would place it now.
void plan_stages(const PlanFlags& flags, const backend::LoadOptions& options, Report& report) {
  Settings settings = read_settings();
  take_device(settings, flags.device, flags.gpu_layers);
  model::Placement placement;
  placement.device = settings.device;
  placement.gpu_layers = settings.gpu_layers;
  placement.cuda_driver = settings.cuda_driver;
  placement.num_threads = flags.threads;
  placement.cache.default_context = settings.context_length;
  placement.max_host_bytes = settings.max_memory_bytes.value_or(available_memory_bytes() / 10 * 9);
  const gguf::File& file = report.source.file;
  const model::ModelSpec spec = model::read_spec(file);
  try {
    report.stages = model::plan_placement(model::build_program(spec, file), spec.context_length,
                                          placement, options, {});
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInvalidArgument) throw;
    report.why_nowhere = error.what();
  }
}

Report make_report(const PlanFlags& flags) {
  const int num_threads = flags.threads > 0 ? flags.threads : usable_cores();
  Report report{
      open_source(flags), {}, {}, flags.cache_type, 0, flags.contexts, flags.users, {}, {}, {}};
  const bool is_this_machine = flags.gpu.empty() && flags.memory.empty() && flags.bandwidth.empty();
  backend::LoadOptions options;
  options.max_embedding_rows = options.max_batch_tokens;  // as a server loads it
  const auto cpu = is_this_machine ? backend::make_cpu_backend({num_threads, ""}) : nullptr;
  report.plan = measure::plan_model(report.source.file, cpu.get(), options);
  report.machine = find_machine(flags, num_threads);
  if (report.cache_type.empty()) report.cache_type = read_settings().kv_cache_type;
  report.cache_token_bytes = report.cache_type == "q8_0" ? report.plan.cache_token_bytes_q8_0
                                                         : report.plan.cache_token_bytes_f16;
  if (is_this_machine) {
    options.cache_type = backend::parse_cache_type(report.cache_type);
    plan_stages(flags, options, report);
  }
  if (report.contexts.empty()) {
    const int trained = report.plan.context_length;
    for (const int tokens : {4096, 32768, 131072}) {
      if (tokens < trained) report.contexts.push_back(tokens);
    }
    report.contexts.push_back(trained);
  }
  if (is_this_machine && !report.source.path.empty()) {
    report.disk = machine::measure_disk_speed(report.source.path);
  }
  return report;
}

void print_memory(const Report& report) {
  const measure::ModelPlan& plan = report.plan;
  const uint64_t taken = plan.fixed.weights + plan.fixed.workspace;
  std::printf("Memory\n  weights     %s\n  workspace   %s\n  cache       %s a token (%s)\n",
              format_bytes(plan.fixed.weights).c_str(), format_bytes(plan.fixed.workspace).c_str(),
              format_bytes(report.cache_token_bytes).c_str(), report.cache_type.c_str());
  if (taken > report.machine.memory_bytes) {
    std::printf("  does not fit: %s too much\n\n",
                format_bytes(taken - report.machine.memory_bytes).c_str());
    return;
  }
  std::printf("\n  %10s  %14s  %14s\n", "context", "cache of one", "users that fit");
  for (const int context : report.contexts) {
    std::printf(
        "  %10s  %14s  %14s\n", grouped(context).c_str(),
        format_bytes(report.cache_token_bytes * static_cast<uint64_t>(context)).c_str(),
        grouped(measure::users_that_fit(plan, report.machine, report.cache_token_bytes, context))
            .c_str());
  }
  std::printf(
      "  the longest context of one user: %s tokens\n\n",
      grouped(measure::longest_context(plan, report.machine, report.cache_token_bytes)).c_str());
}

void print_stages(const Report& report) {
  if (!report.why_nowhere.empty()) {
    std::printf("Where a server would load it now\n  nowhere: %s\n\n", report.why_nowhere.c_str());
  }
  if (report.stages.empty()) return;
  std::printf("Where a server would load it now\n");
  int num_layers = 0;
  for (const model::PlannedStage& stage : report.stages) num_layers += stage.num_layers;
  for (const model::PlannedStage& stage : report.stages) {
    const uint64_t taken = uint64_t{stage.memory.weights} + stage.memory.workspace;
    std::printf("  %-8s  %3d of %d layers  %10s  %s left for the cache\n", stage.device.c_str(),
                stage.num_layers, num_layers, format_bytes(taken).c_str(),
                format_bytes(stage.budget_bytes - std::min(stage.budget_bytes, taken)).c_str());
  }
  std::printf("\n");
}

// A short one, and the longest that has room for a user.
std::vector<int> speed_contexts(const Report& report) {
  std::vector<int> contexts = {std::min(kShortContext, report.plan.context_length)};
  int longest = 0;
  for (const int context : report.contexts) {
    const bool fits =
        measure::users_that_fit(report.plan, report.machine, report.cache_token_bytes, context) > 0;
    if (fits) longest = std::max(longest, context);
  }
  if (longest > contexts.front()) contexts.push_back(longest);
  return contexts;
}

void print_speed(const Report& report) {
  std::printf(
      "Speed at most, tokens/s of each user: what reading the weights (%s a step) and the "
      "users' caches%s allows\n  %10s",
      format_bytes(report.plan.token_read_bytes).c_str(),
      report.machine.operations_per_second > 0 ? ", or arithmetic," : "", "context");
  for (const int users : report.users) {
    std::printf("  %9s", (std::to_string(users) + (users == 1 ? " user" : " users")).c_str());
  }
  std::printf("\n");
  for (const int context : speed_contexts(report)) {
    std::printf("  %10s", grouped(context).c_str());
    for (const int users : report.users) {
      const bool fits = measure::users_that_fit(report.plan, report.machine,
                                                report.cache_token_bytes, context) >= users;
      const double each = measure::decode_ceiling(report.plan, report.machine,
                                                  report.cache_token_bytes, users, context);
      std::printf("  %9s", fits ? speed(each).c_str() : "no room");
    }
    std::printf("\n");
  }
  if (report.machine.operations_per_second > 0) {
    std::printf("  prompts: %s tokens/s, what %s TFLOP/s allow\n",
                speed(measure::prefill_ceiling(report.plan, report.machine)).c_str(),
                speed(report.machine.operations_per_second / 1e12).c_str());
  } else {
    std::printf("  prompts: arithmetic bounds them; `sluice bench` measures it\n");
  }
}

void print_changes(const Report& report) {
  std::printf("\nWhat would change it\n  %-8s  %10s  %22s\n", "weights", "size",
              "1 user, tokens/s at most");
  for (const measure::Alternative& other : measure::other_weights(report.source.file)) {
    if (other.mix == "f32") continue;
    measure::ModelPlan plan = report.plan;
    plan.token_read_bytes = other.token_read_bytes;
    const bool fits = other.weights_bytes + plan.fixed.workspace < report.machine.memory_bytes;
    const double each =
        measure::decode_ceiling(plan, report.machine, report.cache_token_bytes, 1, kShortContext);
    std::printf("  %-8s  %10s  %22s\n", other.mix.c_str(),
                format_bytes(other.weights_bytes).c_str(),
                fits ? speed(each).c_str() : "does not fit");
  }
  if (report.cache_type == "f16") {
    std::printf("  --kv-cache-type q8_0: %s a token, %s tokens for one user\n",
                format_bytes(report.plan.cache_token_bytes_q8_0).c_str(),
                grouped(measure::longest_context(report.plan, report.machine,
                                                 report.plan.cache_token_bytes_q8_0))
                    .c_str());
  }
}

void print_report(const Report& report) {
  const measure::ModelPlan& plan = report.plan;
  std::printf("%s: %s, %s parameters in %s, trained for %s tokens\n",
              printable(report.source.label).c_str(), printable(plan.architecture).c_str(),
              format_parameter_count(plan.num_parameters).c_str(),
              format_bytes(plan.file_bytes).c_str(), grouped(plan.context_length).c_str());
  std::printf("on %s: %s free, reads %s\n\n", report.machine.name.c_str(),
              format_bytes(report.machine.memory_bytes).c_str(),
              gigabytes_per_second(report.machine.read_bytes_per_second).c_str());
  print_memory(report);
  print_stages(report);
  print_speed(report);
  if (report.disk) {
    std::printf("\nLoading from this disk: %.1f s at %s\n",
                static_cast<double>(plan.file_bytes) / *report.disk,
                gigabytes_per_second(*report.disk).c_str());
  }
  print_changes(report);
}

nlohmann::ordered_json speeds_json(const Report& report) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const int context : speed_contexts(report)) {
    for (const int users : report.users) {
      list.push_back({{"context", context},
                      {"users", users},
                      {"tokens_per_second_each",
                       measure::decode_ceiling(report.plan, report.machine,
                                               report.cache_token_bytes, users, context)}});
    }
  }
  return list;
}

void print_json(const Report& report) {
  const measure::ModelPlan& plan = report.plan;
  nlohmann::ordered_json document = {
      {"model", report.source.label},
      {"architecture", plan.architecture},
      {"parameters", plan.num_parameters},
      {"file_bytes", plan.file_bytes},
      {"trained_context", plan.context_length},
      {"machine", report.machine.name},
      {"memory_bytes", report.machine.memory_bytes},
      {"read_bytes_per_second", report.machine.read_bytes_per_second},
      {"weights_bytes", plan.fixed.weights},
      {"workspace_bytes", plan.fixed.workspace},
      {"cache_type", report.cache_type},
      {"cache_token_bytes", report.cache_token_bytes},
      {"longest_context", measure::longest_context(plan, report.machine, report.cache_token_bytes)},
  };
  for (const int context : report.contexts) {
    document["contexts"].push_back(
        {{"tokens", context},
         {"users_that_fit",
          measure::users_that_fit(plan, report.machine, report.cache_token_bytes, context)}});
  }
  for (const model::PlannedStage& stage : report.stages) {
    document["stages"].push_back({{"device", stage.device},
                                  {"layers", stage.num_layers},
                                  {"weights_bytes", stage.memory.weights},
                                  {"workspace_bytes", stage.memory.workspace},
                                  {"budget_bytes", stage.budget_bytes}});
  }
  if (!report.why_nowhere.empty()) document["nowhere"] = report.why_nowhere;
  document["decode_at_most"] = speeds_json(report);
  if (report.machine.operations_per_second > 0) {
    document["prefill_at_most"] = measure::prefill_ceiling(plan, report.machine);
  }
  if (report.disk) document["disk_bytes_per_second"] = *report.disk;
  std::printf("%s\n", document.dump(2).c_str());
}

void run_plan(const PlanFlags& flags) {
  const Report report = make_report(flags);
  if (flags.is_json) {
    print_json(report);
  } else {
    print_report(report);
  }
}

}  // namespace

void add_plan(Command& program) {
  auto flags = std::make_shared<PlanFlags>();
  Command command = program.subcommand(
      "plan", "Say what a model needs and how fast it can be, before it is loaded or fetched");
  command.footer(
      "Examples:\n"
      "  sluice plan smollm2:135m\n"
      "  sluice plan llama3.1:70b --quant q4_K_M --gpu a100-80\n"
      "  sluice plan ./model.gguf --ctx 8192,131072 --kv-cache-type q8_0\n"
      "  sluice plan qwen2.5:7b --memory 24GB --bandwidth 34GB/s\n"
      "  sluice plan hf.co/org/repo:Q4_K_M --gpu h100");
  command
      .option(
          "MODEL", flags->model,
          "Name in the store, path of a GGUF file, a well-known shape (llama3.1:70b), or a name "
          "that a registry knows")
      .required();
  command.option("--quant", flags->quant, "Weights of a well-known shape (q4_K_M)");
  command.option("--ctx", flags->contexts, "Contexts in tokens, as 4096,131072")
      .comma_separated()
      .range(1, 1 << 28);
  command.option("--parallel", flags->users, "Users at a time, as 1,4,16")
      .comma_separated()
      .range(1, 100000);
  command.option("--kv-cache-type", flags->cache_type, "f16, or q8_0: half the memory")
      .one_of({"f16", "q8_0"});
  command.option("--gpu", flags->gpu, "A GPU by its data sheet: a100-80, h100, h200, rtx4090 ...");
  command.option("--memory", flags->memory, "Of another machine: 24GB");
  command.option("--bandwidth", flags->bandwidth, "Of another machine: 34GB/s");
  command.option("--device", flags->device,
                 "Of this machine, as serve has it: auto, cuda:0,cpu ...");
  command.option("--gpu-layers", flags->gpu_layers, "So many layers on this machine's GPUs")
      .range(0, 100000);
  command.option("-t,--threads", flags->threads, "Threads of this machine (default: its cores)")
      .range(1, 1024);
  command.flag("--insecure", flags->insecure,
               "Ask a registry by plain HTTP, or https:// without a look at the certificate");
  command.flag("--json", flags->is_json, "Print figures for programs");
  command.action([flags] { run_plan(*flags); });
}

}  // namespace sluice::cli
