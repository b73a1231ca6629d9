#include "backend/cuda/cuda_backend.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "backend/check.h"
#include "backend/cpu/program_check.h"
#include "backend/cuda/device.h"
#include "backend/cuda/forward.h"
#include "backend/cuda/graphs.h"
#include "backend/cuda/sampler.h"
#include "backend/cuda/step_input.h"
#include "backend/cuda/weights.h"
#include "base/error.h"
#include "base/units.h"

namespace sluice::backend {
namespace cuda {
namespace {

// Steps of so few rows are graphs, without prompts, which come in all sizes: their launches would
// take longer than their work.
constexpr int kMostGraphTokens = 256;
// Rows that the products of few rows take, all alike; attention too.
constexpr int kExactRows = kExactAttentionTokens;
// Rows that larger products compute together.
constexpr int kRowGroup = 32;
// By the model (docs/performance.md): 128 rows take a half of what 256 do, 64 take two thirds of
// 128.
constexpr int kPieceTokens = 128;

// Rows are the second coordinate of grids.
constexpr int kMostBatchTokens = 65535;

void check_for_cuda(const Program& program, const LoadOptions& options) {
  cpu::check_program(program, options);
  if (options.max_batch_tokens > kMostBatchTokens) {
    throw Error(ErrorCode::kUnsupported, "steps of " + std::to_string(options.max_batch_tokens) +
                                             " tokens: the CUDA backend takes up to " +
                                             std::to_string(kMostBatchTokens));
  }
  if (padded_head_size(program.head_dim) == 0) {
    throw Error(ErrorCode::kUnsupported, "heads of " + std::to_string(program.head_dim) +
                                             " dimensions: the CUDA backend takes up to " +
                                             std::to_string(kMostHeadSize));
  }
}

class CudaBackend final : public Backend {
 public:
  CudaBackend(const Driver& driver, int index) : device_(driver, index), graphs_(device_) {}
  ~CudaBackend() override {
    // What the stream still runs reads what is freed now.
    device_.driver().cuCtxSetCurrent(device_.context());
    device_.settle();
  }

  Traits traits() const override {
    return {kExactRows, kExactRows, kRowGroup, false, kPieceTokens};
  }

  std::string description() const override {
    return "cuda:" + std::to_string(device_.info().index) + " " + device_.info().name + ", " +
           format_bytes(device_.info().memory_bytes);
  }

  MemoryUse plan(const Program& program, const LoadOptions& options, int num_blocks) const override;
  void load(Program program, const LoadOptions& options) override;
  size_t cache_block_bytes() const override {
    // Its number in the table of each sequence that a step may have.
    const size_t numbers = static_cast<size_t>(options_.max_batch_tokens) * sizeof(int32_t);
    return block_bytes(program_, options_) + numbers;
  }
  void allocate_cache(int num_blocks) override;
  void submit(const Batch& batch) override;
  StepResult wait() override;
  MemoryUse memory() const override {
    return all_on_device(
        {weights_.size_bytes(), cache_.size(), workspace_.size() + sampler_bytes_ + input_bytes_});
  }
  uint64_t free_bytes() const override {
    device_.make_current();
    return device_.memory().free_bytes;
  }
  bool is_lost() const override { return device_.is_lost(); }

 private:
  static MemoryUse all_on_device(MemoryUse use) {
    use.on_device = use.weights + use.cache + use.workspace;
    return use;
  }
  static size_t block_bytes(const Program& program, const LoadOptions& options) {
    return cache_layout(program, options.cache_type).block_bytes() *
           static_cast<size_t>(program.num_layers);
  }
  static StepInput::Limits input_limits(const Program& program, const LoadOptions& options,
                                        int num_blocks) {
    return {options.max_batch_tokens, options.max_logit_rows + options.max_embedding_rows,
            StepInput::table_entries(options.max_batch_tokens, num_blocks),
            prefill_tile_tokens(attention_shape(program, options.cache_type))};
  }
  void make_input(int num_blocks);
  LaunchShape shape_of(const Batch& batch) const;
  void start(const Batch& batch);
  void receive(const Batch& batch);
  StepResult finish(const Batch& batch);
  template <typename Part>
  auto guarded(Part part) const;
  void fetch_rows(BufferId id, size_t first, size_t count, std::byte* to) const;
  void fetch_results(const Batch& batch, size_t num_logit_rows);
  void add_sampling(LaunchList& list, int num_rows) const;
  void take_tokens(const Batch& batch);
  int width_of(BufferId id) const { return program_.buffers[static_cast<size_t>(id)].width; }
  std::span<float> results(size_t first, size_t count) const {
    return {reinterpret_cast<float*>(results_.data()) + first, count};
  }

  Device device_;
  Program program_;
  LoadOptions options_;
  DeviceWeights weights_;
  ForwardLayout layout_;
  DeviceBuffer workspace_, cache_;
  int num_blocks_ = 0;
  StepInput input_;
  PinnedBuffer received_;  // Batch::received, where the program begins with it
  Sampler sampler_;
  size_t input_bytes_ = 0, sampler_bytes_ = 0;
  std::unique_ptr<Forward> forward_;
  // A step that samples has another graph than one that does not.
  struct GraphKey {
    LaunchShape shape;
    bool samples = false;
    bool operator==(const GraphKey&) const = default;
  };
  GraphCache<GraphKey> graphs_;

  // This step.
  const Batch* batch_ = nullptr;
  PinnedBuffer results_;  // logits, then hidden states; made when they are first wanted
  std::vector<SampledToken> sampled_;
};

MemoryUse CudaBackend::plan(const Program& program, const LoadOptions& options,
                            int num_blocks) const {
  check_for_cuda(program, options);
  const DeviceWeights weights(program);
  const ForwardLayout layout(program, options, device_.info().facts, weights.layouts());
  const size_t input = StepInput::size_bytes(input_limits(program, options, num_blocks));
  const size_t sampler = Sampler::size_bytes(options.max_logit_rows, program.vocab_size);
  return all_on_device({weights.size_bytes(),
                        static_cast<size_t>(num_blocks) * block_bytes(program, options),
                        layout.total_bytes + sampler + input});
}

void CudaBackend::load(Program program, const LoadOptions& options) {
  device_.make_current();
  check_for_cuda(program, options);
  device_.settle();
  graphs_.clear();
  forward_ = nullptr;
  input_ = {};
  received_ = {};
  sampler_ = {};
  input_bytes_ = sampler_bytes_ = 0;
  cache_ = {};
  num_blocks_ = 0;
  workspace_ = {};
  weights_ = DeviceWeights();  // first, so that old and new need not fit together
  program_ = std::move(program);
  options_ = options;
  weights_ = DeviceWeights(program_);
  layout_ = ForwardLayout(program_, options_, device_.info().facts, weights_.layouts());
  weights_.load(program_, device_, options_.on_progress);
  for (Weight& weight : program_.weights) weight.data = {};  // not ours to keep
  workspace_ = DeviceBuffer(device_, layout_.total_bytes, "the workspace of a step");
  // Counters and the products' scratch start at zero; rows are padded with numbers, not with NaNs.
  device_.check(device_.driver().cuMemsetD8Async(workspace_.address(), 0, workspace_.size(),
                                                 device_.stream()),
                "clearing the workspace");
  sampler_ = Sampler(device_, options_.max_logit_rows, program_.vocab_size);
  sampler_bytes_ = Sampler::size_bytes(options_.max_logit_rows, program_.vocab_size);
  make_input(0);  // what does not hang on the cache's size
  if (const auto* receive = std::get_if<Receive>(&program_.ops.front())) {
    received_ =
        PinnedBuffer(device_, static_cast<size_t>(options_.max_batch_tokens) *
                                  static_cast<size_t>(width_of(receive->out)) * sizeof(float));
  }
  device_.wait();
  forward_ = std::make_unique<Forward>(program_, options_.cache_type, device_.info().facts,
                                       weights_, layout_, workspace_.data());
}

// Both in the device's memory and pinned.
void CudaBackend::make_input(int num_blocks) {
  const StepInput::Limits limits = input_limits(program_, options_, num_blocks);
  input_ = {};
  input_bytes_ = 0;
  input_ = StepInput(device_, limits);
  input_bytes_ = StepInput::size_bytes(limits);
}

void CudaBackend::allocate_cache(int num_blocks) {
  if (num_blocks < 1) {
    throw Error(ErrorCode::kInvalidArgument, "a cache needs at least one block");
  }
  device_.make_current();
  device_.settle();
  graphs_.clear();
  cache_ = {};
  input_ = {};
  input_bytes_ = 0;
  num_blocks_ = 0;
  cache_ = DeviceBuffer(device_, static_cast<size_t>(num_blocks) * block_bytes(program_, options_),
                        "the cache of " + std::to_string(num_blocks) + " blocks");
  // Attention multiplies what nobody has written with zero: it must be finite.
  device_.check(
      device_.driver().cuMemsetD8Async(cache_.address(), 0, cache_.size(), device_.stream()),
      "clearing the cache");
  make_input(num_blocks);
  device_.wait();
  num_blocks_ = num_blocks;
}

LaunchShape CudaBackend::shape_of(const Batch& batch) const {
  LaunchShape shape;
  shape.num_tokens = static_cast<int>(batch.tokens.size());
  shape.num_outputs = static_cast<int>(batch.num_output_rows());
  shape.num_logits = static_cast<int>(batch.logit_rows.size());
  shape.num_tiles = input_.num_tiles();
  shape.num_singles = input_.num_singles();
  shape.longest = input_.longest();
  shape.is_prefill = std::all_of(batch.sequences.begin(), batch.sequences.end(),
                                 [](const BatchSequence& sequence) { return sequence.is_prompt; });
  return shape;
}

// Nothing of a step that has failed may still run: the next one writes what it reads.
template <typename Part>
auto CudaBackend::guarded(Part part) const {
  try {
    return part();
  } catch (...) {
    device_.settle();
    throw;
  }
}

void CudaBackend::submit(const Batch& batch) {
  check_batch(batch, program_, options_, num_blocks_);
  device_.make_current();
  guarded([&] { start(batch); });
  batch_ = &batch;
}

// What another device has computed, to where the first layer here reads it.
void CudaBackend::receive(const Batch& batch) {
  const auto* op = std::get_if<Receive>(&program_.ops.front());
  if (!op) return;
  std::memcpy(received_.data(), batch.received.data(), batch.received.size_bytes());
  const auto bytes = static_cast<size_t>(width_of(op->out)) * sizeof(float);
  const auto stride = static_cast<size_t>(forward_->float_stride(op->out)) * sizeof(float);
  const auto to = reinterpret_cast<CUdeviceptr>(forward_->floats(op->out));
  const size_t count = batch.tokens.size(), pieces = stride == bytes ? 1 : count;
  for (size_t i = 0; i < pieces; ++i) {
    device_.check(
        device_.driver().cuMemcpyHtoDAsync_v2(to + i * stride, received_.data() + i * bytes,
                                              bytes * (count / pieces), device_.stream()),
        "bringing what another device has computed");
  }
}

void CudaBackend::start(const Batch& batch) {
  input_.write(batch);
  receive(batch);
  sampler_.write(batch.samplings);
  LaunchShape shape = shape_of(batch);
  // Rows with masks are sampled when those are there: in wait().
  const bool samples = sampler_.has_work() && !sampler_.has_masks();
  const auto make_list = [&] {
    LaunchList list;
    input_.add_load(list);
    const LaunchList forward = forward_->launches(shape, input_.view(), cache_.data(), num_blocks_);
    list.insert(list.end(), forward.begin(), forward.end());
    if (samples) add_sampling(list, shape.num_logits);
    return list;
  };
  bool is_launched = false;
  if (shape.num_tokens <= kMostGraphTokens && shape.num_tiles == 0 && !shape.is_prefill) {
    // One graph serves contexts up to the next power of two.
    shape.longest =
        static_cast<int>(std::bit_ceil(static_cast<unsigned>(std::max(shape.longest, 256))));
    is_launched = graphs_.launch({shape, samples}, make_list);
  }
  if (!is_launched) device_.run(make_list());
  fetch_results(batch, batch.samplings.empty() ? batch.logit_rows.size() : 0);
}

void CudaBackend::add_sampling(LaunchList& list, int num_rows) const {
  sampler_.add_launches(list, forward_->floats(program_.logits),
                        forward_->float_stride(program_.logits), num_rows);
}

// Rows of floats, dense, into pinned memory.
void CudaBackend::fetch_rows(BufferId id, size_t first, size_t count, std::byte* to) const {
  const size_t bytes = static_cast<size_t>(width_of(id)) * sizeof(float);
  const auto stride = static_cast<size_t>(forward_->float_stride(id)) * sizeof(float);
  const auto from = reinterpret_cast<CUdeviceptr>(forward_->floats(id)) + first * stride;
  const size_t pieces = stride == bytes ? 1 : count;
  for (size_t i = 0; i < pieces; ++i) {
    device_.check(device_.driver().cuMemcpyDtoHAsync_v2(to + i * bytes, from + i * stride,
                                                        bytes * (count / pieces), device_.stream()),
                  "fetching results");
  }
}

// Logits (of the first rows) and hidden states, to the host.
void CudaBackend::fetch_results(const Batch& batch, size_t num_logit_rows) {
  const auto vocab = static_cast<size_t>(program_.vocab_size);
  const auto width = static_cast<size_t>(width_of(program_.hidden));
  const size_t logit_bytes = num_logit_rows * vocab * sizeof(float);
  const size_t hidden_bytes = batch.embedding_rows.size() * width * sizeof(float);
  if (logit_bytes + hidden_bytes > results_.size()) {
    results_ = {};
    results_ = PinnedBuffer(device_, logit_bytes + hidden_bytes);
  }
  if (logit_bytes > 0) fetch_rows(program_.logits, 0, num_logit_rows, results_.data());
  if (hidden_bytes > 0) {
    fetch_rows(program_.hidden, batch.logit_rows.size(), batch.embedding_rows.size(),
               results_.data() + logit_bytes);
  }
}

StepResult CudaBackend::wait() {
  const Batch& batch = *std::exchange(batch_, nullptr);
  device_.make_current();
  return guarded([&] { return finish(batch); });
}

StepResult CudaBackend::finish(const Batch& batch) {
  if (sampler_.has_work() && sampler_.has_masks()) {
    sampler_.write_masks(batch.samplings);
    LaunchList list;
    add_sampling(list, static_cast<int>(batch.samplings.size()));
    device_.run(list);
  }
  device_.wait();
  take_tokens(batch);
  const auto width = static_cast<size_t>(width_of(program_.hidden));
  const size_t num_logits = batch.samplings.empty()
                                ? batch.logit_rows.size() * static_cast<size_t>(program_.vocab_size)
                                : 0;
  StepResult result;
  result.tokens = sampled_;
  result.logits = results(0, num_logits);
  result.embeddings = results(num_logits, batch.embedding_rows.size() * width);
  return result;
}

// Rows that the device leaves to the host come one by one: they are rare.
void CudaBackend::take_tokens(const Batch& batch) {
  sampled_.resize(batch.samplings.size());
  std::vector<float> logits;
  for (size_t i = 0; i < batch.samplings.size(); ++i) {
    if (sampler_.take(i, batch.samplings[i], sampled_[i])) continue;
    logits.resize(static_cast<size_t>(program_.vocab_size));
    fetch_rows(program_.logits, i, 1, reinterpret_cast<std::byte*>(logits.data()));
    device_.wait();
    sampled_[i] = sample_row({logits}, batch.samplings[i]);
  }
}

}  // namespace
}  // namespace cuda

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  const std::string library =
      options.driver_library.empty() ? cuda::kDriverLibrary : options.driver_library;
  return std::make_unique<cuda::CudaBackend>(cuda::driver(library), options.device);
}

bool has_cuda() { return true; }

std::vector<CudaDevice> list_cuda_devices(const std::string& driver_library, std::string& reason) {
  std::vector<CudaDevice> devices;
  try {
    const cuda::Driver& driver =
        cuda::driver(driver_library.empty() ? cuda::kDriverLibrary : driver_library);
    for (const cuda::DeviceInfo& info : cuda::list_devices(driver)) {
      devices.push_back(
          {info.index, info.name, info.memory_bytes, info.bus_id, info.is_in_use, info.fault()});
    }
    if (devices.empty()) reason = "the driver lists no GPU";
  } catch (const Error& error) {
    reason = error.what();
  }
  return devices;
}

}  // namespace sluice::backend
