#pragma once

#include <cstddef>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/attention.h"
#include "backend/cuda/device.h"
#include "backend/cuda/forms.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/linear.h"
#include "backend/cuda/step_input.h"
#include "backend/cuda/weights.h"
#include "backend/program.h"

// The forward pass as launches: what a program's operations read and write, and where.
namespace sluice::backend::cuda {

// Everything a step writes on the device, in one piece of memory.
struct ForwardLayout {
  ForwardLayout() = default;
  ForwardLayout(const Program& program, const LoadOptions& options, const DeviceFacts& device,
                const std::vector<MatrixLayout>& matrices);

  struct Rows {
    size_t floats = 0, halves = 0;              // places
    int64_t float_stride = 0, half_stride = 0;  // numbers from one row to the next
  };
  ProgramForms forms;
  std::vector<Rows> buffers;  // of the program's
  std::vector<size_t> ropes;  // tables of cosines and sines
  size_t partials = 0, counters = 0, counter_bytes = 0, scratch = 0;
  size_t total_bytes = 0;
};

CacheLayout cache_layout(const Program& program, CacheType type);
AttentionShape attention_shape(const Program& program, CacheType type);

// What a step's launches depend on.
struct LaunchShape {
  int num_tokens = 0, num_outputs = 0, num_logits = 0;
  int num_tiles = 0, num_singles = 0;  // attention's, as StepInput has them
  int longest = 0;                     // most keys that a token reads, or more
  bool is_prefill = false;

  bool operator==(const LaunchShape&) const = default;
};

class Forward {
 public:
  // All must outlive it.
  Forward(const Program& program, CacheType cache_type, const DeviceFacts& device,
          const DeviceWeights& weights, const ForwardLayout& layout, std::byte* workspace)
      : program_(program),
        cache_layout_(cuda::cache_layout(program, cache_type)),
        shape_(attention_shape(program, cache_type)),
        device_(device),
        weights_(weights),
        layout_(layout),
        workspace_(workspace) {}

  // The operations of a step on what `input` brings; cache is [layers, blocks, ...].
  LaunchList launches(const LaunchShape& step, const StepView& input, std::byte* cache,
                      int num_blocks) const;

  float* floats(BufferId id) const {
    return reinterpret_cast<float*>(workspace_ + rows(id).floats);
  }
  int64_t float_stride(BufferId id) const { return rows(id).float_stride; }

 private:
  struct Step;
  void add(Step& step, const Embed& op, const OpForms& forms) const;
  void add(Step& step, const Receive& op, const OpForms& forms) const;
  void add(Step& step, const RmsNorm& op, const OpForms& forms) const;
  void add(Step& step, const Linear& op, const OpForms& forms) const;
  void add_joined(Step& step, const Linear& op, const GatedActivation& gated,
                  const OpForms& forms) const;
  HalfRows input_of(Step& step, const Linear& op, const OpForms& forms, int count) const;
  void add(Step& step, const RopeStore& op, const OpForms& forms) const;
  void add(Step& step, const Attention& op, const OpForms& forms) const;
  void add(Step& step, const GatedActivation& op, const OpForms& forms) const;
  void add(Step& step, const GatherRows& op, const OpForms& forms) const;
  void add(Step& step, const SoftCap& op, const OpForms& forms) const;

  const ForwardLayout::Rows& rows(BufferId id) const {
    return layout_.buffers[static_cast<size_t>(id)];
  }
  uint16_t* halves(BufferId id) const {
    return reinterpret_cast<uint16_t*>(workspace_ + rows(id).halves);
  }
  int width(BufferId id) const { return program_.buffers[static_cast<size_t>(id)].width; }
  int num_rows(const LaunchShape& step, BufferId id) const;

  const Program& program_;
  CacheLayout cache_layout_;
  AttentionShape shape_;
  const DeviceFacts& device_;
  const DeviceWeights& weights_;
  const ForwardLayout& layout_;
  std::byte* workspace_;
};

}  // namespace sluice::backend::cuda
