#include "measure/bench.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "backend/cpu/ceilings.h"
#include "base/cpu_features.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/threads.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/offline_model.h"
#include "cli/progress_view.h"
#include "cli/suggest.h"
#include "measure/plan.h"
#include "measure/shapes.h"

namespace sluice::cli {
namespace {

struct BenchFlags {
  OfflineModelFlags model;
  std::string shape;
  std::string quant = "q4_K_M";
  std::vector<int> prompts = {512};
  std::vector<int> sequences = {1};
  std::vector<int> depths = {0};
  int decode_tokens = 64;
  bool is_json = false;
  measure::BenchOptions options;
};

std::vector<measure::BenchCase> make_cases(const BenchFlags& flags) {
  std::vector<measure::BenchCase> cases;
  for (const int depth : flags.depths) {
    for (const int prompt : flags.prompts) {
      if (prompt > 0) cases.push_back({prompt, 0, 1, depth});
    }
    for (const int count : flags.sequences) {
      if (flags.decode_tokens > 0) cases.push_back({0, flags.decode_tokens, count, depth});
    }
  }
  return cases;
}

void print_results(const std::vector<measure::BenchResult>& results, double bandwidth,
                   size_t weight_bytes) {
  std::printf("%-24s %12s %12s\n", "", "tokens/s", "best");
  for (const measure::BenchResult& result : results) {
    std::printf("%-24s %12.1f %12.1f\n", result.test.name().c_str(), result.median(),
                result.best());
  }
  std::printf("\nmemory read: %.1f GB/s; the weights (%s) once a token: at most %.1f tokens/s\n",
              bandwidth / 1e9, format_bytes(weight_bytes).c_str(),
              bandwidth / static_cast<double>(weight_bytes));
}

void print_json(const std::vector<measure::BenchResult>& results, double bandwidth,
                model::Model& model) {
  nlohmann::ordered_json document;
  document["processor"] = cpu_model_name();
  document["backend"] = model.backend().description();
  document["weight_bytes"] = model.backend().memory().weights;
  document["read_bytes_per_second"] = bandwidth;
  for (const measure::BenchResult& result : results) {
    document["results"].push_back({{"name", result.test.name()},
                                   {"prompt_tokens", result.test.prompt_tokens},
                                   {"decode_tokens", result.test.decode_tokens},
                                   {"sequences", result.test.num_sequences},
                                   {"depth", result.test.depth},
                                   {"tokens_per_second", result.tokens_per_second}});
  }
  std::printf("%s\n", document.dump(2).c_str());
}

// Says so before anything is made when the blocks and what is loaded from them do not fit together.
void check_room(const measure::Shape& shape, const BenchFlags& flags,
                const backend::LoadOptions& load) {
  const int num_threads = flags.model.placement.num_threads;
  const auto cpu = backend::make_cpu_backend(
      {num_threads > 0 ? num_threads : usable_cores(), flags.model.placement.isa});
  const measure::ModelPlan plan =
      measure::plan_model(measure::shape_file(shape, flags.quant), cpu.get(), load);
  const uint64_t loaded = plan.fixed.weights + plan.fixed.workspace;
  const uint64_t available = available_memory_bytes();
  if (plan.file_bytes + loaded <= available) return;
  throw Error(ErrorCode::kOutOfMemory,
              std::string(shape.name) + " in " + flags.quant + " takes " +
                  format_bytes(plan.file_bytes + loaded) + " while it is loaded (" +
                  format_bytes(plan.file_bytes) + " of random weights, " + format_bytes(loaded) +
                  " as they are computed with); " + format_bytes(available) +
                  " are free. `sluice plan` says how fast it can be");
}

std::unique_ptr<model::Model> load_shape(BenchFlags& flags, const backend::LoadOptions& load,
                                         int num_blocks) {
  const measure::Shape* shape = measure::find_shape(flags.shape);
  if (shape == nullptr) {
    throw Error(ErrorCode::kNotFound,
                "there is no well-known shape '" + flags.shape + "'" + near_shapes(flags.shape));
  }
  check_room(*shape, flags, load);
  ProgressView view(ProgressView::Trace::kNone);
  const measure::FilledShape filled(*shape, flags.quant, [&](uint64_t written, uint64_t all) {
    view.update("making random weights", written, all);
  });
  view.finish();
  flags.model.model = filled.path();
  return load_offline_model(flags.model, load, num_blocks);
}

std::unique_ptr<model::Model> load(BenchFlags& flags, const backend::LoadOptions& load,
                                   int num_blocks) {
  if (flags.model.model.empty() == flags.shape.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "bench takes a MODEL, or --shape with a well-known one that need not be there");
  }
  return flags.shape.empty() ? load_offline_model(flags.model, load, num_blocks)
                             : load_shape(flags, load, num_blocks);
}

void run(BenchFlags& flags) {
  const std::vector<measure::BenchCase> cases = make_cases(flags);
  backend::LoadOptions options;
  options.max_logit_rows = *std::max_element(flags.sequences.begin(), flags.sequences.end());
  options.max_batch_tokens = std::max(flags.options.step_tokens, options.max_logit_rows);
  const int num_blocks = measure::bench_blocks(cases);
  const std::unique_ptr<model::Model> model = load(flags, options, num_blocks);
  model->backend().allocate_cache(num_blocks);
  const int num_threads =
      flags.model.placement.num_threads > 0 ? flags.model.placement.num_threads : usable_cores();
  const double bandwidth = backend::cpu::measure_read_bandwidth(num_threads);
  if (!flags.is_json) {
    std::printf("%s\n%s\n\n", cpu_model_name().c_str(), model->backend().description().c_str());
    flags.options.on_result = [](const measure::BenchResult& result) {
      if (isatty(STDERR_FILENO) == 0) return;
      std::fprintf(stderr, "\r\033[K%s: %.1f tokens/s", result.test.name().c_str(),
                   result.tokens_per_second.back());
    };
  }
  const auto results = measure::run_bench(*model, cases, flags.options);
  if (flags.is_json) {
    print_json(results, bandwidth, *model);
    return;
  }
  if (isatty(STDERR_FILENO) != 0) std::fprintf(stderr, "\r\033[K");
  print_results(results, bandwidth, model->backend().memory().weights);
}

}  // namespace

void add_bench(Command& program) {
  auto flags = std::make_shared<BenchFlags>();
  Command command = program.subcommand(
      "bench", "Time prefill and decode in this process, beside the memory's speed");
  command.footer(
      "Lists are comma-separated. Examples:\n"
      "  sluice bench smollm2:135m\n"
      "  sluice bench llama3.2:1b --prompt 128,512,2048 --sequences 1,4,16 --depth 0,4096\n"
      "  sluice bench --shape llama3.1:8b --quant q4_0");
  add_offline_model_flags(command, flags->model);
  command.option("--shape", flags->shape,
                 "Instead of MODEL: a well-known shape, filled with random weights");
  command.option("--quant", flags->quant, "Type of a shape's weights").show_default();
  command.option("-p,--prompt", flags->prompts, "Lengths of prompts to prefill (0: none)")
      .comma_separated()
      .range(0, 1 << 20);
  command.option("-n,--decode", flags->decode_tokens, "Tokens to decode (0: none)")
      .range(0, 1 << 20)
      .show_default();
  command.option("-s,--sequences", flags->sequences, "Sequences decoded together")
      .comma_separated()
      .range(1, 1024);
  command.option("-d,--depth", flags->depths, "Tokens already in the cache")
      .comma_separated()
      .range(0, 1 << 20);
  command.option("-r,--repetitions", flags->options.repetitions, "Runs of each test")
      .range(1, 1000)
      .show_default();
  command.option("--step", flags->options.step_tokens, "Prompt tokens computed at once")
      .range(1, 8192)
      .show_default();
  command.flag("--json", flags->is_json, "Print figures for programs");
  command.action([flags] { run(*flags); });
}

}  // namespace sluice::cli
