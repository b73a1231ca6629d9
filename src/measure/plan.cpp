#include "measure/plan.h"

#include <algorithm>
#include <array>
#include <set>
#include <variant>

#include "convert/mix.h"
#include "model/model.h"
#include "model/spec.h"
#include "quant/codec.h"

namespace sluice::measure {
namespace {

constexpr double kGigabyte = 1e9;
constexpr uint64_t kDriverBytes = 1'000'000'000;  // context, kernels, the driver's own

Ceilings gpu(const char* name, double gigabytes, double gigabytes_per_second, double teraflops) {
  return {name, static_cast<uint64_t>(gigabytes * kGigabyte) - kDriverBytes,
          gigabytes_per_second * kGigabyte, teraflops * 1e12};
}

// NVIDIA's data sheets: memory, GB/s, dense FP16 tensor TFLOP/s with f32 sums.
const std::vector<Ceilings>& gpus() {
  static const std::vector<Ceilings> list = {
      gpu("a100-80", 80, 2039, 312),   gpu("a100-40", 40, 1555, 312), gpu("h100", 80, 3350, 989),
      gpu("h100-pcie", 80, 2000, 756), gpu("h200", 141, 4800, 989),   gpu("b200", 180, 7700, 2250),
      gpu("l40s", 48, 864, 362),       gpu("l4", 24, 300, 121),       gpu("a10", 24, 600, 125),
      gpu("t4", 16, 320, 65),          gpu("rtx3090", 24, 936, 71),   gpu("rtx4090", 24, 1008, 165),
      gpu("rtx5090", 32, 1792, 209),
  };
  return list;
}

uint64_t weight_bytes(const backend::Weight& weight) {
  return quant::size_bytes(weight.type, weight.columns * weight.rows);
}

// Weights that products read, each once though a tied one is asked for twice.
std::set<backend::WeightId> product_weights(const backend::Program& program) {
  std::set<backend::WeightId> weights;
  for (const backend::Op& op : program.ops) {
    const auto* linear = std::get_if<backend::Linear>(&op);
    if (linear == nullptr) continue;
    for (const backend::LinearPart& part : linear->parts) weights.insert(part.weight);
  }
  return weights;
}

// A device of which nothing is known but that it computes in f32 and keeps weights as they are.
backend::MemoryUse plain_memory(const backend::Program& program,
                                const backend::LoadOptions& options) {
  backend::MemoryUse use;
  for (const backend::Weight& weight : program.weights) use.weights += weight_bytes(weight);
  for (const backend::Buffer& buffer : program.buffers) {
    const int rows = buffer.rows == backend::RowKind::kTokens ? options.max_batch_tokens
                                                              : options.max_logit_rows;
    use.workspace += static_cast<size_t>(buffer.width) * static_cast<size_t>(rows) * sizeof(float);
  }
  return use;
}

uint64_t plain_cache_token_bytes(const backend::Program& program, backend::CacheType type) {
  const uint64_t values = uint64_t{2} * static_cast<uint64_t>(program.num_layers) *
                          static_cast<uint64_t>(program.num_kv_heads) *
                          static_cast<uint64_t>(program.head_dim);
  return type == backend::CacheType::kF16 ? values * 2 : values * 34 / 32;
}

uint64_t cache_token_bytes(const backend::Program& program, const backend::Backend* backend,
                           backend::LoadOptions options, backend::CacheType type) {
  if (backend == nullptr) return plain_cache_token_bytes(program, type);
  options.cache_type = type;
  constexpr int kBlocks = 64;
  const size_t some = backend->plan(program, options, kBlocks).cache;
  return (some - backend->plan(program, options, 0).cache) / (kBlocks * backend::kBlockTokens);
}

// Scratch of attention grows with the cache: here it is what a server's usual cache wants.
backend::MemoryUse fixed_memory(const backend::Program& program, const backend::Backend* backend,
                                const backend::LoadOptions& options) {
  constexpr int64_t kUsualTokens = 32768;
  if (backend == nullptr) return plain_memory(program, options);
  const auto num_blocks = static_cast<int>(backend::blocks_for_tokens(kUsualTokens));
  backend::MemoryUse use = backend->plan(program, options, num_blocks);
  use.cache = 0;
  return use;
}

}  // namespace

const Ceilings* find_gpu(std::string_view name) {
  const auto found = std::find_if(gpus().begin(), gpus().end(),
                                  [&](const Ceilings& one) { return one.name == name; });
  return found == gpus().end() ? nullptr : &*found;
}

std::vector<std::string> gpu_names() {
  std::vector<std::string> names;
  for (const Ceilings& one : gpus()) names.push_back(one.name);
  return names;
}

ModelPlan plan_model(const gguf::File& file, const backend::Backend* backend,
                     const backend::LoadOptions& options) {
  const model::ModelSpec spec = model::read_spec(file);
  const backend::Program program = model::build_program(spec, file);
  ModelPlan plan;
  plan.name = spec.name;
  plan.architecture = spec.architecture;
  plan.context_length = spec.context_length;
  plan.num_parameters = spec.num_parameters;
  plan.file_bytes = file.size_bytes();
  plan.fixed = fixed_memory(program, backend, options);
  plan.cache_token_bytes_f16 =
      cache_token_bytes(program, backend, options, backend::CacheType::kF16);
  plan.cache_token_bytes_q8_0 =
      cache_token_bytes(program, backend, options, backend::CacheType::kQ8_0);
  for (const backend::WeightId id : product_weights(program)) {
    const backend::Weight& weight = program.weights[static_cast<size_t>(id)];
    plan.token_read_bytes += weight_bytes(weight);
    plan.token_operations += 2.0 * static_cast<double>(weight.columns * weight.rows);
  }
  return plan;
}

int64_t users_that_fit(const ModelPlan& plan, const Ceilings& machine, uint64_t cache_token_bytes,
                       int64_t context) {
  const uint64_t taken = plan.fixed.weights + plan.fixed.workspace;
  if (taken > machine.memory_bytes) return 0;
  const auto block = static_cast<uint64_t>(backend::blocks_for_tokens(context)) *
                     backend::kBlockTokens * cache_token_bytes;
  return static_cast<int64_t>((machine.memory_bytes - taken) / block);
}

int64_t longest_context(const ModelPlan& plan, const Ceilings& machine,
                        uint64_t cache_token_bytes) {
  const uint64_t taken = plan.fixed.weights + plan.fixed.workspace;
  if (taken > machine.memory_bytes) return 0;
  const uint64_t tokens = (machine.memory_bytes - taken) / cache_token_bytes;
  return std::min<int64_t>(static_cast<int64_t>(tokens), plan.context_length);
}

double decode_ceiling(const ModelPlan& plan, const Ceilings& machine, uint64_t cache_token_bytes,
                      int users, int64_t context) {
  const double cache = static_cast<double>(cache_token_bytes) * static_cast<double>(context);
  const double bytes = static_cast<double>(plan.token_read_bytes) + users * cache;
  double seconds = bytes / machine.read_bytes_per_second;
  if (machine.operations_per_second > 0) {
    seconds = std::max(seconds, users * plan.token_operations / machine.operations_per_second);
  }
  return 1 / seconds;
}

double prefill_ceiling(const ModelPlan& plan, const Ceilings& machine) {
  return machine.operations_per_second / plan.token_operations;
}

std::vector<Alternative> other_weights(const gguf::File& file) {
  std::vector<convert::TensorFacts> facts;
  for (const gguf::Tensor& tensor : file.tensors()) {
    facts.push_back({std::string(tensor.name), tensor.shape, tensor.type});
  }
  const bool is_tied = file.find_tensor("output.weight") == nullptr;
  std::vector<Alternative> list;
  for (const convert::Mix& mix : convert::all_mixes()) {
    const auto types = convert::choose_types(mix, convert::model_facts(file), facts);
    Alternative one{std::string(mix.name), 0, 0};
    for (size_t i = 0; i < facts.size(); ++i) {
      const uint64_t bytes = quant::size_bytes(types[i], file.tensors()[i].num_elements());
      one.weights_bytes += bytes;
      const bool is_looked_up = facts[i].name == "token_embd.weight" && !is_tied;
      if (facts[i].shape.size() > 1 && !is_looked_up) one.token_read_bytes += bytes;
    }
    list.push_back(std::move(one));
  }
  return list;
}

}  // namespace sluice::measure
