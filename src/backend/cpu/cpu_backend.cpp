#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "backend/backend.h"
#include "backend/check.h"
#include "backend/cpu/attention.h"
#include "backend/cpu/dispatch.h"
#include "backend/cpu/linear.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/program_check.h"
#include "backend/cpu/team.h"
#include "backend/cpu/weights.h"
#include "base/error.h"
#include "base/threads.h"
#include "quant/codec.h"

namespace sluice::backend {
namespace cpu {
namespace {

static_assert(kMostWideTokens == kExactRows && kWideTokens == kExactSequences);

size_t round_up_64(size_t bytes) { return (bytes + 63) / 64 * 64; }

// Rows cut into slices of columns, one a member: each rounds its part of all rows. (Members that
// take turns by rows write into the same cache lines of a tile.)
struct Slices {
  int rows, width, per_row;

  // Parts, to be taken with take_near: the first slice of all rows, then the second, ...
  int count() const { return rows * per_row; }
  int row(int part) const { return part % rows; }
  int slice(int part) const { return part / rows; }
  int first_column(int slice) const {
    // Whole blocks, so that a slice can be rounded for the product that reads it.
    const int blocks = (width + kBlockColumns - 1) / kBlockColumns;
    return std::min(width, blocks * slice / per_row * kBlockColumns);
  }
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const CpuOptions& options)
      : kernels_(choose_kernels(options.force_isa)),
        team_(options.num_threads > 0 ? options.num_threads : usable_cores()) {}

  std::string description() const override {
    const std::string threads = std::to_string(team_.size());
    return std::string("cpu ") + kernels_.name + ", " + threads +
           (team_.size() == 1 ? " thread" : " threads");
  }

  void load(Program program, const LoadOptions& options) override;
  size_t cache_block_bytes() const override { return cache_.block_bytes(); }
  void allocate_cache(int num_blocks) override {
    if (num_blocks < 1)
      throw Error(ErrorCode::kInvalidArgument, "a cache needs at least one block");
    cache_.allocate(num_blocks);
    attention_.reserve(int64_t{num_blocks} * kBlockTokens);
  }
  StepOutput forward(const Batch& batch) override;
  MemoryUse memory() const override {
    return {weights_.size_bytes(), cache_.size_bytes(),
            workspace_.size() + attention_.workspace_bytes()};
  }

 private:
  // The input of a Linear, rounded in the forms its matrices want.
  struct LinearInput {
    Activations codes, floats;
    bool needs_codes = false, needs_floats = false;
    int rows = 0;  // that are read: the head leaves out the last ones
  };

  void plan_workspace();
  void prepare(const Batch& batch);
  void fill_rope_tables(int member);
  void walk(int member);

  // Operations; each is called by every member and ends with a barrier.
  void run(const Embed& op, const Linear* reader, int member);
  void run(const RmsNorm& op, const Linear* reader, int member);
  void run(const Linear& op, const Linear* reader, int member);
  void run(const RopeStore& op, const Linear* reader, int member);
  void run(const Attention& op, const Linear* reader, int member);
  void run(const GatedActivation& op, const Linear* reader, int member);
  void run(const GatherRows& op, const Linear* reader, int member);
  void run(const SoftCap& op, const Linear* reader, int member);

  int num_rows(BufferId id) const {
    return static_cast<int>(count_rows(program_.buffers[static_cast<size_t>(id)].rows, *batch_));
  }
  int width(BufferId id) const { return program_.buffers[static_cast<size_t>(id)].width; }
  float* row(BufferId id, int index) const {
    return buffers_[static_cast<size_t>(id)] + static_cast<size_t>(index) * stride(id);
  }
  // Numbers from one row to the next. A line more than the width, which is mostly a power of two:
  // the same columns of many rows would all share one set of the caches. What a step returns is
  // dense.
  size_t stride(BufferId id) const {
    const bool is_result = id == program_.logits || id == program_.hidden;
    return static_cast<size_t>(width(id)) + (is_result ? 0 : 64 / sizeof(float));
  }
  Slices slices(BufferId id, bool may_cut = true) const {
    return {num_rows(id), width(id), may_cut ? team_.size() : 1};
  }
  // The next part for a member, -1 when all are taken.
  int take(const Slices& slices, int member) { return team_.take_near(member, slices.count()); }
  LinearInput input_of(const Linear& op) const;
  void quantize(const LinearInput& input, BufferId in, int index, int first_column,
                int end_column) const;
  void rotate_token(const RopeStore& op, int token, int kv_head) const;
  void take_maxima(int logit_row, int first_column, int end_column) const;

  const Kernels& kernels_;
  Team team_;
  Program program_;
  LoadOptions options_;
  Weights weights_;
  KvCache cache_;
  AttentionPlan attention_;
  std::vector<const Linear*> readers_;  // of ops: the Linear behind one that reads what it writes
  std::vector<bool> is_fed_;            // of ops: a Linear whose input comes rounded

  HugeBuffer workspace_;
  std::vector<float*> buffers_;  // of program_.buffers
  float* maxima_ = nullptr;      // of the logits: [max_logit_rows, num_maxima(vocab_size)]
  uint8_t* codes_ = nullptr;
  uint8_t* floats_ = nullptr;
  std::byte* linear_scratch_ = nullptr;  // of member 0; the others' behind it
  std::vector<float*> rope_tables_;      // of ropes: [max tokens][cosines, sines]

  // This step.
  const Batch* batch_ = nullptr;
  bool is_prefill_ = false;         // the step computes prompts and nothing else
  int wide_tokens_ = kWideTokens;   // rows of a product that get 16-bit activations
  std::vector<int32_t> positions_;  // of tokens
  std::vector<int32_t> slots_;      // of tokens: place in the cache, block * kBlockTokens + offset
};

void CpuBackend::load(Program program, const LoadOptions& options) {
  check_program(program, options);
  program_ = std::move(program);
  options_ = options;
  cache_ = KvCache(program_.num_layers, program_.num_kv_heads, program_.head_dim,
                   options.cache_type == CacheType::kQ8_0);
  weights_ = Weights();
  weights_ = Weights(program_, team_, options.on_progress);
  attention_ = AttentionPlan(program_.num_heads, program_.num_kv_heads, team_.size(),
                             options.max_batch_tokens, cache_.padded_dim());
  plan_workspace();
  readers_.assign(program_.ops.size(), nullptr);
  is_fed_.assign(program_.ops.size(), false);
  for (size_t i = 0; i + 1 < program_.ops.size(); ++i) {
    const auto* linear = std::get_if<Linear>(&program_.ops[i + 1]);
    const auto* norm = std::get_if<RmsNorm>(&program_.ops[i]);
    const auto* gated = std::get_if<GatedActivation>(&program_.ops[i]);
    const bool feeds =
        linear && ((norm && norm->out == linear->in) || (gated && gated->out == linear->in));
    if (!feeds) continue;
    readers_[i] = linear;
    is_fed_[i + 1] = true;
  }
}

void CpuBackend::plan_workspace() {
  const auto max_tokens = static_cast<size_t>(options_.max_batch_tokens);
  size_t total = 0;
  const auto reserve = [&total](size_t bytes) {
    const size_t at = total;
    total += round_up_64(bytes);
    return at;
  };
  std::vector<size_t> buffer_places, rope_places;
  for (size_t i = 0; i < program_.buffers.size(); ++i) {
    const auto rows = static_cast<size_t>(max_rows(program_.buffers[i].rows, options_));
    buffer_places.push_back(reserve(rows * stride(static_cast<BufferId>(i)) * sizeof(float)));
  }
  for (const Rope& rope : program_.ropes) {
    rope_places.push_back(reserve(max_tokens * rope.inverse_frequency.size() * 2 * sizeof(float)));
  }
  const auto vocab_size = static_cast<size_t>(width(program_.logits));
  const size_t maxima = reserve(static_cast<size_t>(options_.max_logit_rows) *
                                num_maxima(vocab_size) * sizeof(float));
  size_t input_bytes = 0;
  for (const Op& op : program_.ops) {
    const auto* linear = std::get_if<Linear>(&op);
    if (!linear) continue;
    const Buffer& in = program_.buffers[static_cast<size_t>(linear->in)];
    input_bytes = std::max(input_bytes, activation_bytes(max_rows(in.rows, options_), in.width));
  }
  const size_t codes = reserve(input_bytes), floats = reserve(input_bytes);
  const size_t scratch =
      reserve(linear_scratch_bytes(kernels_) * static_cast<size_t>(team_.size()));

  workspace_ = HugeBuffer();
  workspace_ = HugeBuffer(total, "the workspace of a step");
  const auto at = [this](size_t place) { return workspace_.data() + place; };
  buffers_.clear();
  for (size_t place : buffer_places) buffers_.push_back(reinterpret_cast<float*>(at(place)));
  rope_tables_.clear();
  for (size_t place : rope_places) rope_tables_.push_back(reinterpret_cast<float*>(at(place)));
  maxima_ = reinterpret_cast<float*>(at(maxima));
  codes_ = reinterpret_cast<uint8_t*>(at(codes));
  floats_ = reinterpret_cast<uint8_t*>(at(floats));
  linear_scratch_ = at(scratch);
  // Fault the pages in now and not in the first prompt.
  team_.run([this](int member) {
    const size_t share = workspace_.size() / static_cast<size_t>(team_.size());
    std::memset(workspace_.data() + share * static_cast<size_t>(member), 0, share);
  });
}

StepOutput CpuBackend::forward(const Batch& batch) {
  check_batch(batch, program_, options_, cache_.num_blocks());
  prepare(batch);
  team_.run([this](int member) { walk(member); });
  const auto floats = [this](size_t rows, BufferId id) {
    return rows * static_cast<size_t>(width(id));
  };
  const size_t num_logit_rows = batch.logit_rows.size();
  return {{row(program_.logits, 0), floats(num_logit_rows, program_.logits)},
          {row(program_.hidden, static_cast<int>(num_logit_rows)),
           floats(batch.embedding_rows.size(), program_.hidden)},
          {maxima_, num_logit_rows * num_maxima(static_cast<size_t>(width(program_.logits)))}};
}

void CpuBackend::prepare(const Batch& batch) {
  batch_ = &batch;
  // A few tokens of one reply are a draft that is checked: they get what each would get in a step
  // of its own. Many sequences of one token want speed instead, and prompts the same form for
  // chunks of any size, unless others wait for a short step.
  is_prefill_ = std::all_of(batch.sequences.begin(), batch.sequences.end(),
                            [](const BatchSequence& sequence) { return sequence.is_prompt; });
  const bool has_draft =
      std::any_of(batch.sequences.begin(), batch.sequences.end(),
                  [](const BatchSequence& s) { return !s.is_prompt && s.num_tokens > 1; });
  const bool is_exact = has_draft && batch.tokens.size() <= static_cast<size_t>(kMostWideTokens);
  wide_tokens_ = is_exact ? kMostWideTokens : kWideTokens;
  positions_.clear();
  slots_.clear();
  for (const BatchSequence& sequence : batch.sequences) {
    for (int i = 0; i < sequence.num_tokens; ++i) {
      const int position = sequence.num_cached + i;
      positions_.push_back(position);
      const int block = sequence.block_table[static_cast<size_t>(position / kBlockTokens)];
      slots_.push_back(block * kBlockTokens + position % kBlockTokens);
    }
  }
  attention_.begin(batch);
}

void CpuBackend::walk(int member) {
  fill_rope_tables(member);  // read behind the next barrier, at the earliest
  for (size_t i = 0; i < program_.ops.size(); ++i) {
    std::visit(
        [&](const auto& op) {
          if constexpr (std::is_same_v<std::decay_t<decltype(op)>, Linear>) {
            run(op, is_fed_[i] ? &op : nullptr, member);
          } else {
            run(op, readers_[i], member);
          }
        },
        program_.ops[i]);
  }
}

void CpuBackend::fill_rope_tables(int member) {
  for (size_t r = 0; r < program_.ropes.size(); ++r) {
    const std::vector<float>& frequencies = program_.ropes[r].inverse_frequency;
    for (size_t t = static_cast<size_t>(member); t < positions_.size();
         t += static_cast<size_t>(team_.size())) {
      float* cosines = rope_tables_[r] + t * frequencies.size() * 2;
      float* sines = cosines + frequencies.size();
      for (size_t i = 0; i < frequencies.size(); ++i) {
        // In f64: a position of 100,000 in f32 would leave the angle two digits.
        const double angle = static_cast<double>(positions_[t]) * double{frequencies[i]};
        cosines[i] = static_cast<float>(std::cos(angle));
        sines[i] = static_cast<float>(std::sin(angle));
      }
    }
  }
}

void CpuBackend::run(const Embed& op, const Linear*, int) {
  const Weight& table = program_.weights[static_cast<size_t>(op.table)];
  const size_t row_bytes = quant::size_bytes(table.type, table.columns);
  for (int t = team_.take_chunk(); t < num_rows(op.out); t = team_.take_chunk()) {
    float* out = row(op.out, t);
    const auto token = static_cast<size_t>(batch_->tokens[static_cast<size_t>(t)]);
    quant::dequantize(table.type, table.data.data() + token * row_bytes, out, table.columns);
    for (int i = 0; i < width(op.out); ++i) out[i] *= op.scale;
  }
  team_.barrier();
}

void CpuBackend::run(const RmsNorm& op, const Linear* reader, int member) {
  const LinearInput input = reader ? input_of(*reader) : LinearInput{};
  const float* weight = weights_.vector(op.weight);
  const Slices s = slices(op.in, op.in != op.out);
  for (int i = take(s, member); i >= 0; i = take(s, member)) {
    const int index = s.row(i), slice = s.slice(i);
    const int first = s.first_column(slice), end = s.first_column(slice + 1);
    const float* in = row(op.in, index);
    // Every slice sums the whole row: cheaper than to meet in between.
    const float mean = kernels_.sum_of_squares(in, s.width) / static_cast<float>(s.width);
    kernels_.scale_by(in + first, 1.0f / std::sqrt(mean + op.eps), weight + first,
                      row(op.out, index) + first, end - first, op.accumulate);
    if (reader) quantize(input, op.out, index, first, end);
  }
  team_.barrier();
}

CpuBackend::LinearInput CpuBackend::input_of(const Linear& op) const {
  LinearInput input;
  const int rows = num_rows(op.parts.front().out), blocks = width(op.in) / kBlockColumns;
  input.rows = rows;
  const bool is_prompt =
      is_prefill_ && program_.buffers[static_cast<size_t>(op.in)].rows == RowKind::kTokens;
  for (const LinearPart& part : op.parts) {
    const PackedMatrix& matrix = weights_.matrix(part.weight);
    const ActivationForm form = is_prompt ? prompt_form(kernels_, matrix)
                                          : activation_form(kernels_, matrix, rows, wide_tokens_);
    if (matrix.is_float()) {
      input.needs_floats = true;
      input.floats = {floats_, form, rows, blocks};
    } else {
      input.needs_codes = true;
      input.codes = {codes_, form, rows, blocks};
    }
  }
  return input;
}

void CpuBackend::quantize(const LinearInput& input, BufferId in, int index, int first_column,
                          int end_column) const {
  if (index >= input.rows) return;
  const int first = first_column / kBlockColumns, end = end_column / kBlockColumns;
  if (input.needs_codes) quantize_row(kernels_, input.codes, index, row(in, index), first, end);
  if (input.needs_floats) quantize_row(kernels_, input.floats, index, row(in, index), first, end);
}

// `fed` is not null when the operation before has rounded the input already.
void CpuBackend::run(const Linear& op, const Linear* fed, int member) {
  const LinearInput input = input_of(op);
  if (!fed) {
    const Slices s = slices(op.in);
    for (int i = take(s, member); i >= 0; i = take(s, member)) {
      const int slice = s.slice(i);
      quantize(input, op.in, s.row(i), s.first_column(slice), s.first_column(slice + 1));
    }
    team_.barrier();
  }
  constexpr size_t kMostParts = 8;
  LinearTarget targets[kMostParts];
  for (size_t done = 0; done < op.parts.size(); done += kMostParts) {
    const size_t count = std::min(kMostParts, op.parts.size() - done);
    for (size_t i = 0; i < count; ++i) {
      const LinearPart& part = op.parts[done + i];
      const PackedMatrix& matrix = weights_.matrix(part.weight);
      targets[i] = {&matrix,
                    matrix.is_float() ? &input.floats : &input.codes,
                    weights_.vector(part.bias),
                    row(part.out, 0),
                    stride(part.out),
                    part.accumulate,
                    part.out == program_.logits ? maxima_ : nullptr};
    }
    run_linear(kernels_, team_, member, {targets, count},
               linear_scratch_ + static_cast<size_t>(member) * linear_scratch_bytes(kernels_));
    team_.barrier();
  }
}

// Normalises and rotates the query heads of one kv head and its key.
void CpuBackend::rotate_token(const RopeStore& op, int token, int kv_head) const {
  const int dim = program_.head_dim;
  const int shared = program_.num_heads / program_.num_kv_heads;
  const Rope& rope = program_.ropes[static_cast<size_t>(op.rope)];
  const int pairs = static_cast<int>(rope.inverse_frequency.size());
  const float* cosines =
      rope_tables_[static_cast<size_t>(op.rope)] + static_cast<ptrdiff_t>(token) * pairs * 2;
  const auto turn = [&](float* head, const float* norm) {
    if (norm) {
      const float mean = kernels_.sum_of_squares(head, dim) / static_cast<float>(dim);
      kernels_.scale_by(head, 1.0f / std::sqrt(mean + op.norm_eps), norm, head, dim, false);
    }
    kernels_.rotate(head, cosines, cosines + pairs, pairs, rope.is_interleaved);
  };
  for (int h = 0; h < shared; ++h) {
    turn(row(op.q, token) + (kv_head * shared + h) * dim, weights_.vector(op.q_norm));
  }
  float* key = row(op.k, token) + kv_head * dim;
  turn(key, weights_.vector(op.k_norm));
}

void CpuBackend::run(const RopeStore& op, const Linear*, int) {
  // Neighbouring tokens share the cache lines of keys: a member takes several.
  constexpr int kMostTokens = 16;
  const int tokens = num_rows(op.q);
  const int per_chunk = std::clamp(tokens / (4 * team_.size()), 1, kMostTokens);
  const int chunks = (tokens + per_chunk - 1) / per_chunk * program_.num_kv_heads;
  for (int i = team_.take_chunk(); i < chunks; i = team_.take_chunk()) {
    const int first = i / program_.num_kv_heads * per_chunk;
    const int end = std::min(first + per_chunk, tokens), kv_head = i % program_.num_kv_heads;
    for (int t = first; t < end; ++t) rotate_token(op, t, kv_head);
    for (int t = first; t < end;) {
      // Tokens that lie one behind the other in one block go together.
      const int slot = slots_[static_cast<size_t>(t)];
      int count = 1;
      while (t + count < end && slots_[static_cast<size_t>(t + count)] == slot + count &&
             (slot + count) % kBlockTokens != 0) {
        ++count;
      }
      cache_.store(kernels_, op.layer, kv_head, slot, count,
                   row(op.k, t) + kv_head * program_.head_dim,
                   row(op.v, t) + kv_head * program_.head_dim, stride(op.k));
      t += count;
    }
  }
  team_.barrier();
}

void CpuBackend::run(const Attention& op, const Linear*, int member) {
  const AttentionPlan::Operation operation{row(op.q, 0), row(op.out, 0), stride(op.q),
                                           op.layer,     op.scale,       op.window};
  attention_.run(operation, kernels_, cache_, *batch_, team_, member);
}

void CpuBackend::run(const GatedActivation& op, const Linear* reader, int member) {
  const LinearInput input = reader ? input_of(*reader) : LinearInput{};
  const auto activate =
      op.activation == Activation::kSilu ? kernels_.silu_times : kernels_.gelu_times;
  const Slices s = slices(op.gate);
  for (int i = take(s, member); i >= 0; i = take(s, member)) {
    const int index = s.row(i), slice = s.slice(i);
    const int first = s.first_column(slice), end = s.first_column(slice + 1);
    activate(row(op.gate, index) + first, row(op.up, index) + first, row(op.out, index) + first,
             end - first);
    if (reader) quantize(input, op.out, index, first, end);
  }
  team_.barrier();
}

void CpuBackend::run(const GatherRows& op, const Linear*, int) {
  for (int i = team_.take_chunk(); i < num_rows(op.out); i = team_.take_chunk()) {
    const float* from = row(op.in, batch_->output_row(static_cast<size_t>(i)));
    std::copy(from, from + width(op.in), row(op.out, i));
  }
  team_.barrier();
}

void CpuBackend::run(const SoftCap& op, const Linear*, int member) {
  const Slices s = slices(op.buffer);
  for (int i = take(s, member); i >= 0; i = take(s, member)) {
    const int slice = s.slice(i);
    const int first = s.first_column(slice), end = s.first_column(slice + 1);
    kernels_.soft_cap(row(op.buffer, s.row(i)) + first, op.cap, end - first);
    if (op.buffer == program_.logits) take_maxima(s.row(i), first, end);
  }
  team_.barrier();
}

void CpuBackend::take_maxima(int logit_row, int first_column, int end_column) const {
  const auto vocab_size = static_cast<size_t>(width(program_.logits));
  float* maxima = maxima_ + static_cast<size_t>(logit_row) * num_maxima(vocab_size);
  const auto end = static_cast<size_t>(end_column);
  const std::span<const float> logits(row(program_.logits, logit_row), end);
  for (auto i = static_cast<size_t>(first_column); i < end; i += kMaximaStride) {
    maxima[i / kMaximaStride] = highest_of(logits, i, kMaximaStride);
  }
}

}  // namespace
}  // namespace cpu

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options) {
  return std::make_unique<cpu::CpuBackend>(options);
}

}  // namespace sluice::backend
