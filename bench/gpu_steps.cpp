// Steps of a model of a known shape on a GPU, with random weights: no file, no server.
//
//   gpu_steps SHAPE TYPE [OUT.json] [seconds]
//
// SHAPE: 70b, 8b, 1b, tiny; TYPE: q4_0, q4_k_m. Prints what memory it takes beside what was
// planned, decode steps at several numbers of sequences and contexts, prefill, and what the device
// can do at most: copies, reads, products. The time of a decode step is from submit to the tokens
// on the host. SLUICE_CUDA_DRIVER: the driver's library.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "backend/cuda/ceilings.h"
#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/device.h"
#include "base/error.h"
#include "base/units.h"
#include "quant/codec.h"
#include "timing.h"

namespace {

using namespace sluice;
using namespace sluice::backend;
using bench::now;
using quant::Type;

struct Shape {
  const char* name;
  int layers, width, heads, kv_heads, head_dim, ffn, vocab;
  int step_tokens;  // of a prompt
  std::vector<int> sequences, contexts, prompts;
};
const std::vector<int> kSequences = {1, 2, 4, 8, 16, 64, 128}, kContexts = {512, 8192, 131072},
                       kPrompts = {512, 2048, 8192};
const Shape kShapes[] = {
    {"70b", 80, 8192, 64, 8, 128, 28672, 128256, 2048, kSequences, kContexts, kPrompts},
    {"8b", 32, 4096, 32, 8, 128, 14336, 128256, 2048, kSequences, kContexts, kPrompts},
    {"1b", 16, 2048, 32, 8, 64, 8192, 128256, 2048, kSequences, kContexts, kPrompts},
    {"tiny", 1, 256, 4, 2, 64, 512, 512, 64, {1, 2, 16}, {48}, {96}}};

// A Llama of the shape; every tensor of a type has the same random blocks.
class RandomModel {
 public:
  RandomModel(const Shape& shape, const std::string& type) : s_(shape) {
    is_mixed_ = type == "q4_k_m";
    if (!is_mixed_ && type != "q4_0") {
      throw Error(ErrorCode::kInvalidArgument, "types: q4_0, q4_k_m");
    }
    type_ = is_mixed_ ? Type::kQ4_K : Type::kQ4_0;
    build();
  }
  const Program& program() const { return program_; }

 private:
  WeightId add(Type type, int columns, int rows) {
    const size_t bytes = quant::size_bytes(type, int64_t{columns} * rows);
    program_.weights.push_back({"weight", type, columns, rows, data(type, bytes)});
    return static_cast<WeightId>(program_.weights.size()) - 1;
  }
  // Addresses stay: an element of a map is never moved, and a vector has its final size at once.
  std::span<const std::byte> data(Type type, size_t bytes) {
    std::vector<std::byte>& all = data_[type];
    if (all.empty()) {
      std::vector<float> values(size_t{1} << 20);
      std::uniform_real_distribution<float> uniform(-0.02f, 0.02f);
      for (float& value : values) value = uniform(random_);
      const auto count = static_cast<int64_t>(values.size());
      std::vector<std::byte> some(quant::size_bytes(type, count));
      quant::quantize(type, values.data(), some.data(), count);
      const int largest = std::max(s_.vocab, s_.ffn);
      all.resize(quant::size_bytes(type, int64_t{largest} * s_.width));
      for (size_t at = 0; at < all.size(); at += some.size()) {
        std::memcpy(all.data() + at, some.data(), std::min(some.size(), all.size() - at));
      }
    }
    return std::span<const std::byte>(all).first(bytes);
  }
  WeightId norm() { return add(Type::kF32, s_.width, 1); }
  WeightId matrix(int columns, int rows, bool is_fine = false) {
    return add(is_fine && is_mixed_ ? Type::kQ6_K : type_, columns, rows);
  }
  BufferId buffer(int width, RowKind rows = RowKind::kTokens) {
    program_.buffers.push_back({width, rows});
    return static_cast<BufferId>(program_.buffers.size()) - 1;
  }

  void build() {
    Program& p = program_;
    p.num_layers = s_.layers;
    p.num_heads = s_.heads;
    p.num_kv_heads = s_.kv_heads;
    p.head_dim = s_.head_dim;
    p.vocab_size = s_.vocab;
    const int q_width = s_.heads * s_.head_dim, kv_width = s_.kv_heads * s_.head_dim;
    const BufferId x = buffer(s_.width), h = buffer(s_.width), q = buffer(q_width),
                   k = buffer(kv_width), v = buffer(kv_width), a = buffer(q_width),
                   gate = buffer(s_.ffn), up = buffer(s_.ffn),
                   last = buffer(s_.width, RowKind::kOutputs);
    p.hidden = buffer(s_.width, RowKind::kOutputs);
    p.logits = buffer(s_.vocab, RowKind::kLogits);
    Rope rope{{}, true};
    for (int i = 0; i < s_.head_dim / 2; ++i) {
      rope.inverse_frequency.push_back(
          std::pow(500000.0f, -2.0f * static_cast<float>(i) / static_cast<float>(s_.head_dim)));
    }
    p.ropes = {rope};
    p.ops.push_back(Embed{matrix(s_.width, s_.vocab), x, 1.0f});
    for (int layer = 0; layer < s_.layers; ++layer) {
      const bool is_fine = layer % 2 == 0;  // half of them have Q6_K where it counts
      p.ops.push_back(RmsNorm{x, norm(), h, 1e-5f, false});
      p.ops.push_back(Linear{h,
                             {{matrix(s_.width, q_width), kNoWeight, q, false},
                              {matrix(s_.width, kv_width), kNoWeight, k, false},
                              {matrix(s_.width, kv_width, is_fine), kNoWeight, v, false}}});
      p.ops.push_back(RopeStore{q, k, v, layer, 0, kNoWeight, kNoWeight, 1e-6f});
      p.ops.push_back(Attention{q, a, layer, 1.0f / std::sqrt(static_cast<float>(s_.head_dim)), 0});
      p.ops.push_back(Linear{a, {{matrix(q_width, s_.width), kNoWeight, x, true}}});
      p.ops.push_back(RmsNorm{x, norm(), h, 1e-5f, false});
      p.ops.push_back(Linear{h,
                             {{matrix(s_.width, s_.ffn), kNoWeight, gate, false},
                              {matrix(s_.width, s_.ffn), kNoWeight, up, false}}});
      p.ops.push_back(GatedActivation{gate, up, gate, Activation::kSilu});
      p.ops.push_back(Linear{gate, {{matrix(s_.ffn, s_.width, is_fine), kNoWeight, x, true}}});
    }
    p.ops.push_back(GatherRows{x, last});
    p.ops.push_back(RmsNorm{last, norm(), p.hidden, 1e-5f, false});
    p.ops.push_back(
        Linear{p.hidden, {{matrix(s_.width, s_.vocab, true), kNoWeight, p.logits, false}}});
  }

  const Shape& s_;
  bool is_mixed_ = false;
  Type type_ = Type::kQ4_0;
  std::mt19937 random_{1};
  Program program_;
  std::map<Type, std::vector<std::byte>> data_;
};

// What the device can do at most.
struct Ceilings {
  double copied_bytes, read_bytes, flops;  // a second
};
Ceilings measure_ceilings(const std::string& library, size_t bytes, int rounds) {
  const cuda::Device device(cuda::driver(library), 0);
  bytes = std::min(bytes, device.memory().free_bytes / 4 / 4096 * 4096);
  const cuda::DeviceBuffer from(device, bytes, "a copy"), to(device, bytes, "a copy");
  const auto time = [&](auto work) {
    return bench::best_time(0.2, [&] {
      work();
      device.wait();
    });
  };
  const auto time_of = [&](const char* kernel, uint32_t blocks, uint32_t shared, const auto& args) {
    cuda::LaunchList list;
    cuda::add_launch(list, kernel, {blocks}, {cuda::kCeilingThreads}, shared, args);
    return time([&] { device.run(list); });
  };
  Ceilings most{};
  most.copied_bytes = 2.0 * static_cast<double>(bytes) / time([&] {
                        device.check(device.driver().cuMemcpyDtoDAsync_v2(
                                         to.address(), from.address(), bytes, device.stream()),
                                     "copying");
                      });
  const auto& facts = device.info().facts;
  const auto blocks = static_cast<uint32_t>(facts.num_multiprocessors);
  most.read_bytes = static_cast<double>(bytes) /
                    time_of("read_ceiling", 8 * blocks, 0,
                            cuda::ReadCeilingArgs{from.data(), static_cast<int64_t>(bytes / 16),
                                                  reinterpret_cast<uint32_t*>(to.data())});
  const bool is_wide = facts.compute_capability == 90;
  const double warps = 2.0 * blocks * (cuda::kCeilingThreads / 32);
  most.flops = warps * rounds * cuda::kCeilingFlops /
               time_of(is_wide ? "multiply_wide_ceiling" : "multiply_ceiling", 2 * blocks,
                       is_wide ? cuda::kCeilingShared : 0,
                       cuda::MultiplyCeilingArgs{rounds, reinterpret_cast<float*>(to.data())});
  return most;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Steps {
 public:
  Steps(Backend& backend, const Shape& shape, int num_blocks, double seconds)
      : backend_(backend), shape_(shape), seconds_(seconds) {
    for (int b = 0; b < num_blocks; ++b) blocks_.push_back(b);
  }

  // Seconds of a decode step; 0: the cache has no room.
  double decode(int sequences, int context) {
    const auto each = static_cast<size_t>(blocks_for_tokens(context + 1));
    if (each * static_cast<size_t>(sequences) > blocks_.size()) return 0;
    Batch batch;
    for (int s = 0; s < sequences; ++s) {
      batch.tokens.push_back(7 * s % shape_.vocab);
      batch.sequences.push_back(
          {s, 1, context, std::span(blocks_).subspan(static_cast<size_t>(s) * each, each), false});
      batch.logit_rows.push_back(s);
      batch.samplings.emplace_back().params.temperature = 0;
    }
    return time([&] { backend_.forward(batch); });
  }
  // Seconds of a prompt.
  double prefill(int prompt) {
    return time([&] {
      for (int done = 0; done < prompt; done += shape_.step_tokens) {
        const int count = std::min(shape_.step_tokens, prompt - done);
        Batch batch;
        for (int i = 0; i < count; ++i) batch.tokens.push_back(7 * (done + i) % shape_.vocab);
        batch.sequences.push_back({0, count, done, blocks_, true});
        if (done + count == prompt) {
          batch.logit_rows.push_back(count - 1);
          batch.samplings.emplace_back().params.temperature = 0;
        }
        backend_.forward(batch);
      }
    });
  }

 private:
  template <typename Work>
  double time(Work work) const {
    work();
    std::vector<double> times;
    const double end = now() + seconds_;
    do {
      const double begin = now();
      work();
      times.push_back(now() - begin);
    } while (now() < end || times.size() < 3);
    return median(times);
  }

  Backend& backend_;
  const Shape& shape_;
  const double seconds_;
  std::vector<int32_t> blocks_;
};

nlohmann::ordered_json measure(const Shape& shape, const std::string& type, double seconds) {
  const char* const library = std::getenv("SLUICE_CUDA_DRIVER");
  const std::string driver = library ? library : cuda::kDriverLibrary;
  nlohmann::ordered_json result = {{"shape", shape.name}, {"type", type}};
  const bool is_tiny = shape.layers == 1;
  // Long enough that the way to the device and back is little of it.
  const Ceilings most =
      measure_ceilings(driver, is_tiny ? size_t{1} << 16 : size_t{8} << 30, is_tiny ? 1 : 8192);
  const auto backend = make_cuda_backend({0, driver});
  result["device"] = backend->description();
  result["copy_bytes_per_second"] = most.copied_bytes;
  result["read_bytes_per_second"] = most.read_bytes;
  result["flops"] = most.flops;
  std::printf(
      "%s\nat most: copies within it %.0f GB/s read and written, reads %.0f GB/s, "
      "products of halves %.1f TFLOP/s\n",
      backend->description().c_str(), most.copied_bytes / 1e9, most.read_bytes / 1e9,
      most.flops / 1e12);

  LoadOptions options;
  options.max_batch_tokens = shape.step_tokens;
  options.max_logit_rows = *std::max_element(shape.sequences.begin(), shape.sequences.end());
  const uint64_t free_before = backend->free_bytes();
  double begin = now();
  MemoryUse planned;
  {
    const RandomModel model(shape, type);
    std::printf("weights made in %.1f s\n", now() - begin);
    begin = now();
    backend->load(model.program(), options);
    const auto room = static_cast<double>(backend->free_bytes()) * 0.9;
    const double most_blocks = is_tiny ? 512 : 1e9;
    const int num_blocks = static_cast<int>(
        std::min(room / static_cast<double>(backend->cache_block_bytes()), most_blocks));
    planned = backend->plan(model.program(), options, num_blocks);
    backend->allocate_cache(num_blocks);
  }
  const MemoryUse used = backend->memory();
  const size_t total = planned.weights + planned.cache + planned.workspace;
  const uint64_t taken = free_before - backend->free_bytes();
  result["load_seconds"] = now() - begin;
  result["weight_bytes"] = used.weights;
  result["planned_bytes"] = total;
  result["taken_bytes"] = taken;
  std::printf(
      "%s %s: loaded in %.1f s; %s weights, %s cache, %s workspace: %s planned, %s taken "
      "(%+.2f%%)\n",
      shape.name, type.c_str(), now() - begin, format_bytes(used.weights).c_str(),
      format_bytes(used.cache).c_str(), format_bytes(used.workspace).c_str(),
      format_bytes(total).c_str(), format_bytes(taken).c_str(),
      100.0 * (static_cast<double>(taken) / static_cast<double>(total) - 1));

  Steps steps(*backend, shape, static_cast<int>(used.cache / backend->cache_block_bytes()),
              seconds);
  std::printf("%-28s %10s %12s %16s\n", "", "ms", "tokens/s", "weights, GB/s");
  const auto report = [&](const std::string& name, double time, int tokens) {
    if (time == 0) return;
    std::printf("%-28s %10.2f %12.1f %16.0f\n", name.c_str(), time * 1e3, tokens / time,
                static_cast<double>(used.weights) / time / 1e9);
    result["steps"].push_back({{"name", name}, {"seconds", time}, {"tokens", tokens}});
  };
  for (const int context : shape.contexts) {
    for (const int sequences : shape.sequences) {
      report("decode " + std::to_string(sequences) + " at " + std::to_string(context),
             steps.decode(sequences, context), sequences);
    }
  }
  for (const int prompt : shape.prompts) {
    report("prefill " + std::to_string(prompt), steps.prefill(prompt), prompt);
  }
  return result;
}

constexpr int kNoRoom = 3;  // status where the GPU is too small

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return std::puts("gpu_steps 70b|8b|1b|tiny q4_0|q4_k_m [OUT.json] [seconds]"), 2;
  const auto* const shape =
      std::find_if(std::begin(kShapes), std::end(kShapes),
                   [&](const Shape& s) { return std::string(s.name) == argv[1]; });
  if (shape == std::end(kShapes)) return std::puts("there is no such shape"), 2;
  try {
    const auto result = measure(*shape, argv[2], argc > 4 ? std::atof(argv[4]) : 0.5);
    if (argc > 3) std::ofstream(argv[3]) << result.dump(2) << "\n";
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gpu_steps: %s\n", error.what());
    const auto* const known = dynamic_cast<const Error*>(&error);
    return known && known->code() == ErrorCode::kOutOfMemory ? kNoRoom : 1;
  }
  return 0;
}
