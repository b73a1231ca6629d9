#include "backend/cuda/forward.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "backend/check.h"
#include "backend/cuda/kernels.h"
#include "base/error.h"

namespace sluice::backend::cuda {
namespace {

int64_t round_up_to(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
uint32_t blocks_of(int count, int each) { return static_cast<uint32_t>((count + each - 1) / each); }

const char* embed_kernel(quant::Type type) {
  using quant::Type;
  constexpr std::array<std::pair<Type, const char*>, 16> kKernels = {{
      {Type::kF32, "embed_f32"},
      {Type::kF16, "embed_f16"},
      {Type::kBF16, "embed_bf16"},
      {Type::kQ4_0, "embed_q4_0"},
      {Type::kQ4_1, "embed_q4_1"},
      {Type::kQ5_0, "embed_q5_0"},
      {Type::kQ5_1, "embed_q5_1"},
      {Type::kQ8_0, "embed_q8_0"},
      {Type::kQ2_K, "embed_q2_k"},
      {Type::kQ3_K, "embed_q3_k"},
      {Type::kQ4_K, "embed_q4_k"},
      {Type::kQ5_K, "embed_q5_k"},
      {Type::kQ6_K, "embed_q6_k"},
      {Type::kIQ4_NL, "embed_iq4_nl"},
      {Type::kIQ4_XS, "embed_iq4_xs"},
      {Type::kMXFP4, "embed_mxfp4"},
  }};
  for (const auto& [known, name] : kKernels) {
    if (known == type) return name;
  }
  throw Error(ErrorCode::kUnsupported, "the CUDA backend has no table of this tensor type");
}

}  // namespace

CacheLayout cache_layout(const Program& program, CacheType type) {
  return {program.num_kv_heads, padded_head_size(program.head_dim), type == CacheType::kQ8_0};
}

AttentionShape attention_shape(const Program& program, CacheType type) {
  return {program.num_heads, program.num_kv_heads, padded_head_size(program.head_dim),
          type == CacheType::kQ8_0};
}

ForwardLayout::ForwardLayout(const Program& program, const LoadOptions& options,
                             const DeviceFacts& device, const std::vector<MatrixLayout>& matrices)
    : forms(find_forms(program)) {
  const auto place = [&](size_t bytes) {
    return std::exchange(total_bytes, total_bytes + static_cast<size_t>(round_up_to(
                                                        static_cast<int64_t>(bytes), 256)));
  };
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    const Buffer& buffer = program.buffers[i];
    const auto num_rows = static_cast<size_t>(max_rows(buffer.rows, options));
    Rows rows;
    rows.float_stride = rows.half_stride = round_up_to(buffer.width, 8);
    const auto numbers = num_rows * static_cast<size_t>(rows.float_stride);
    if (forms.buffers[i].has_floats) rows.floats = place(numbers * sizeof(float));
    if (forms.buffers[i].has_halves) rows.halves = place(numbers * sizeof(uint16_t));
    buffers.push_back(rows);
  }
  const auto max_tokens = static_cast<size_t>(options.max_batch_tokens);
  for (const Rope& rope : program.ropes) {
    ropes.push_back(place(max_tokens * rope.inverse_frequency.size() * 2 * sizeof(float)));
  }
  const AttentionShape shape = attention_shape(program, options.cache_type);
  partials = place(attention_partial_bytes(shape, options.max_batch_tokens));
  counter_bytes = attention_counter_bytes(shape, options.max_batch_tokens);
  counters = place(counter_bytes);
  scratch = place(linear_scratch_bytes(device, matrices));
}

// A step while its launches are written down.
struct Forward::Step {
  const LaunchShape& shape;
  const StepView& input;
  std::byte* cache;
  int num_blocks;
  LaunchList list;
  std::vector<float> half_scales;  // of buffers: what halves stand for
};

int Forward::num_rows(const LaunchShape& step, BufferId id) const {
  switch (program_.buffers[static_cast<size_t>(id)].rows) {
    case RowKind::kTokens:
      return step.num_tokens;
    case RowKind::kOutputs:
      return step.num_outputs;
    case RowKind::kLogits:
      return step.num_logits;
  }
  return 0;
}

LaunchList Forward::launches(const LaunchShape& shape, const StepView& input, std::byte* cache,
                             int num_blocks) const {
  Step step{shape, input, cache, num_blocks, {}, {}};
  step.half_scales.assign(program_.buffers.size(), 1.0f);
  for (size_t i = 0; i < program_.ropes.size(); ++i) {
    const auto pairs = static_cast<int>(program_.ropes[i].inverse_frequency.size());
    add_launch(step.list, "rope_table", {static_cast<uint32_t>(shape.num_tokens)}, {64}, 0,
               RopeTableArgs{input.positions, weights_.frequencies(static_cast<int>(i)),
                             reinterpret_cast<float*>(workspace_ + layout_.ropes[i]), pairs});
  }
  for (size_t i = 0; i < program_.ops.size(); ++i) {
    const OpForms& forms = layout_.forms.ops[i];
    if (const auto* linear = std::get_if<Linear>(&program_.ops[i]); linear && forms.is_joined) {
      const Op& gated = program_.ops[++i];
      add_joined(step, *linear, std::get<GatedActivation>(gated), forms);
    } else {
      std::visit([&](const auto& op) { add(step, op, forms); }, program_.ops[i]);
    }
  }
  return std::move(step.list);
}

void Forward::add(Step& step, const Embed& op, const OpForms&) const {
  EmbedArgs args{};
  args.layout = weights_.layout(op.table);
  args.table = weights_.matrix(op.table);
  args.tokens = step.input.tokens;
  args.out = floats(op.out);
  args.out_stride = rows(op.out).float_stride;
  args.scale = op.scale;
  add_launch(step.list, embed_kernel(args.layout.type),
             {blocks_of(static_cast<int>(args.layout.columns), 256),
              static_cast<uint32_t>(num_rows(step.shape, op.out))},
             {32}, 0, args);
}

// They are copied there before the launches (CudaBackend::receive).
void Forward::add(Step&, const Receive&, const OpForms&) const {}

void Forward::add(Step& step, const RmsNorm& op, const OpForms& forms) const {
  const int count = num_rows(step.shape, op.in);
  if (count == 0) return;
  NormArgs args{};
  args.in = floats(op.in);
  args.in_stride = rows(op.in).float_stride;
  args.weight = weights_.vector(op.weight);
  if (forms.writes_floats) args.out = floats(op.out);
  args.out_stride = rows(op.out).float_stride;
  if (forms.writes_halves) args.halves = halves(op.out);
  args.halves_stride = rows(op.out).half_stride;
  args.width = width(op.in);
  args.eps = op.eps;
  args.accumulates = op.accumulate;
  step.half_scales[static_cast<size_t>(op.out)] = 1.0f;
  add_launch(step.list, "rms_norm", {static_cast<uint32_t>(count)}, {256}, 0, args);
}

// Brings `count` rows to halves where nobody has written them so.
HalfRows Forward::input_of(Step& step, const Linear& op, const OpForms& forms, int count) const {
  float& scale = step.half_scales[static_cast<size_t>(op.in)];
  if (forms.converts_input) {
    const ToHalvesArgs args{floats(op.in), rows(op.in).float_stride, halves(op.in),
                            rows(op.in).half_stride, width(op.in)};
    add_launch(step.list, "to_halves", {blocks_of(args.width, 1024), static_cast<uint32_t>(count)},
               {128}, 0, args);
    scale = 1.0f;
  }
  return {halves(op.in), rows(op.in).half_stride, scale};
}

void Forward::add(Step& step, const Linear& op, const OpForms& forms) const {
  // The head reads the first rows of its input only.
  const int count = num_rows(step.shape, op.parts.front().out);
  if (count == 0) return;
  const HalfRows in = input_of(step, op, forms, count);
  std::vector<LinearTarget> targets;
  for (const LinearPart& part : op.parts) {
    LinearTarget target;
    target.layout = weights_.layout(part.weight);
    target.packed = weights_.matrix(part.weight);
    target.bias = weights_.vector(part.bias);
    target.out = floats(part.out);
    target.out_stride = rows(part.out).float_stride;
    target.accumulates = part.accumulate;
    targets.push_back(target);
  }
  add_linear(step.list, device_, in, targets, count, step.shape.is_prefill,
             workspace_ + layout_.scratch);
}

void Forward::add_joined(Step& step, const Linear& op, const GatedActivation& gated,
                         const OpForms& forms) const {
  const int count = num_rows(step.shape, gated.out);
  if (count == 0) return;
  const HalfRows in = input_of(step, op, forms, count);
  const LinearPart &gate = op.parts[0], &up = op.parts[1];
  GatedTarget target;
  target.layout = weights_.layout(gate.weight);
  target.packed = weights_.matrix(gate.weight);  // and up's, in turns
  target.gate_bias = weights_.vector(gate.bias);
  target.up_bias = weights_.vector(up.bias);
  target.out = halves(gated.out);
  target.out_stride = rows(gated.out).half_stride;
  target.curve = gate_curve(gated.activation == Activation::kGeluTanh);
  add_gated_linear(step.list, device_, in, target, count, step.shape.is_prefill,
                   workspace_ + layout_.scratch);
  step.half_scales[static_cast<size_t>(gated.out)] = kGatedScale;
}

void Forward::add(Step& step, const RopeStore& op, const OpForms&) const {
  const Rope& rope = program_.ropes[static_cast<size_t>(op.rope)];
  RopeStoreArgs args{};
  args.q = floats(op.q);
  args.k = floats(op.k);
  args.v = floats(op.v);
  args.q_stride = rows(op.q).float_stride;
  args.k_stride = rows(op.k).float_stride;
  args.v_stride = rows(op.v).float_stride;
  args.table =
      reinterpret_cast<const float*>(workspace_ + layout_.ropes[static_cast<size_t>(op.rope)]);
  args.q_norm = weights_.vector(op.q_norm);
  args.k_norm = weights_.vector(op.k_norm);
  args.norm_eps = op.norm_eps;
  args.slots = step.input.slots;
  args.cache = step.cache + static_cast<size_t>(op.layer) * static_cast<size_t>(step.num_blocks) *
                                cache_layout_.block_bytes();
  args.layout = cache_layout_;
  args.num_heads = program_.num_heads;
  args.head_dim = program_.head_dim;
  args.pairs = static_cast<int>(rope.inverse_frequency.size());
  args.is_interleaved = rope.is_interleaved;
  add_launch(step.list, "rope_store",
             {static_cast<uint32_t>(step.shape.num_tokens),
              blocks_of(program_.num_heads + 2 * program_.num_kv_heads, 4)},
             {128}, 0, args);
}

void Forward::add(Step& step, const Attention& op, const OpForms&) const {
  AttentionArgs args{};
  args.q = floats(op.q);
  args.q_stride = rows(op.q).float_stride;
  args.out = halves(op.out);
  args.out_stride = rows(op.out).half_stride;
  args.cache = step.cache + static_cast<size_t>(op.layer) * static_cast<size_t>(step.num_blocks) *
                                cache_layout_.block_bytes();
  args.step = step.input;
  args.partials = reinterpret_cast<float*>(workspace_ + layout_.partials);
  args.counters = reinterpret_cast<uint32_t*>(workspace_ + layout_.counters);
  args.scale = op.scale;
  args.window = op.window;
  args.num_heads = program_.num_heads;
  args.num_kv_heads = program_.num_kv_heads;
  args.head_dim = program_.head_dim;
  step.half_scales[static_cast<size_t>(op.out)] = 1.0f;
  add_attention(step.list, shape_, args, step.shape.num_tiles, step.shape.num_singles,
                step.shape.longest);
}

void Forward::add(Step& step, const GatedActivation& op, const OpForms& forms) const {
  const int count = num_rows(step.shape, op.gate);
  if (count == 0) return;
  GatedArgs args{};
  args.gate = floats(op.gate);
  args.up = floats(op.up);
  args.stride = rows(op.gate).float_stride;
  if (forms.writes_halves) args.halves = halves(op.out);
  args.halves_stride = rows(op.out).half_stride;
  if (forms.writes_floats) args.out = floats(op.out);
  args.width = width(op.gate);
  args.curve = gate_curve(op.activation == Activation::kGeluTanh);
  step.half_scales[static_cast<size_t>(op.out)] = kGatedScale;
  add_launch(step.list, "gated_activation",
             {blocks_of(args.width, 1024), static_cast<uint32_t>(count)}, {128}, 0, args);
}

void Forward::add(Step& step, const GatherRows& op, const OpForms& forms) const {
  const int count = num_rows(step.shape, op.out);
  if (count == 0) return;
  GatherArgs args{floats(op.in),  rows(op.in).float_stride,  step.input.output_rows,
                  floats(op.out), rows(op.out).float_stride, width(op.in)};
  if (forms.gathers_halves) {  // two at a time; rows are padded
    args.in = reinterpret_cast<const float*>(halves(op.in));
    args.in_stride = rows(op.in).half_stride / 2;
    args.out = reinterpret_cast<float*>(halves(op.out));
    args.out_stride = rows(op.out).half_stride / 2;
    args.width = (args.width + 1) / 2;
    step.half_scales[static_cast<size_t>(op.out)] = step.half_scales[static_cast<size_t>(op.in)];
  }
  add_launch(step.list, "gather_rows", {static_cast<uint32_t>(count)}, {256}, 0, args);
}

void Forward::add(Step& step, const SoftCap& op, const OpForms&) const {
  const int count = num_rows(step.shape, op.buffer);
  if (count == 0) return;
  add_launch(
      step.list, "soft_cap", {blocks_of(width(op.buffer), 1024), static_cast<uint32_t>(count)},
      {128}, 0,
      SoftCapArgs{floats(op.buffer), rows(op.buffer).float_stride, width(op.buffer), op.cap});
}

}  // namespace sluice::backend::cuda
