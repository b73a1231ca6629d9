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
#include "backend/cpu/first_failure.h"
#include "backend/cpu/huge_buffer.h"
#include "backend/cpu/linear.h"
#include "backend/cpu/program_check.h"
#include "backend/cpu/staffing.h"
#include "backend/cpu/team.h"
#include "backend/cpu/weights.h"
#include "backend/maxima.h"
#include "base/error.h"
#include "base/threads.h"
#include "quant/codec.h"

namespace sluice::backend {
namespace cpu {
namespace {

// Rows that a product of codes computes together.
constexpr int kRowGroup = 4;

size_t round_up_64(size_t bytes) { return (bytes + 63) / 64 * 64; }

// Numbers from one row of a buffer to the next. A line more than the width, which is mostly a power
// of two: the same columns of many rows would all share one set of the caches. What a step returns
// is dense.
size_t row_stride(const Program& program, BufferId id) {
  const bool is_result = id == program.logits || id == program.hidden;
  const auto width = static_cast<size_t>(program.buffers[static_cast<size_t>(id)].width);
  return width + (is_result ? 0 : 64 / sizeof(float));
}

// Where everything that a step writes lies in the workspace.
struct WorkspaceLayout {
  WorkspaceLayout(const Program& program, const LoadOptions& options, size_t scratch_bytes);

  std::vector<size_t> buffers, ropes;  // as in the program
  size_t maxima = 0, codes = 0, floats = 0, scratch = 0;
  size_t total_bytes = 0;

 private:
  size_t reserve(size_t bytes) {
    return std::exchange(total_bytes, total_bytes + round_up_64(bytes));
  }
};

WorkspaceLayout::WorkspaceLayout(const Program& program, const LoadOptions& options,
                                 size_t scratch_bytes) {
  const auto max_tokens = static_cast<size_t>(options.max_batch_tokens);
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    const auto rows = static_cast<size_t>(max_rows(program.buffers[i].rows, options));
    buffers.push_back(
        reserve(rows * row_stride(program, static_cast<BufferId>(i)) * sizeof(float)));
  }
  for (const Rope& rope : program.ropes) {
    ropes.push_back(reserve(max_tokens * rope.inverse_frequency.size() * 2 * sizeof(float)));
  }
  maxima = reserve(static_cast<size_t>(options.max_logit_rows) *
                   num_maxima(static_cast<size_t>(program.vocab_size)) * sizeof(float));
  size_t input_bytes = 0;
  for (const Op& op : program.ops) {
    const auto* linear = std::get_if<Linear>(&op);
    if (!linear) continue;
    const Buffer& in = program.buffers[static_cast<size_t>(linear->in)];
    input_bytes = std::max(input_bytes, activation_bytes(max_rows(in.rows, options), in.width));
  }
  codes = reserve(input_bytes);
  floats = reserve(input_bytes);
  scratch = reserve(scratch_bytes);
}

// Rows cut into slices of columns, one a member: each rounds its part of all rows. (Members that
// take turns by rows write into the same cache lines of a tile.)
struct Slices {
  int rows, width, per_row;

  // Pieces of a phase: the first slice of all rows, then the second, ...
  int num_pieces() const { return rows * per_row; }
  int row(int piece) const { return piece % rows; }
  int slice(int piece) const { return piece / rows; }
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
        team_(options.num_threads > 0 ? options.num_threads : usable_cores()),
        staffing_(team_.size()) {}

  std::string description() const override {
    const std::string threads = std::to_string(team_.size());
    return std::string("cpu ") + kernels_.name + ", " + threads +
           (team_.size() == 1 ? " thread" : " threads");
  }

  Traits traits() const override { return {kMostWideTokens, kWideTokens, kRowGroup, true}; }

  MemoryUse plan(const Program& program, const LoadOptions& options, int num_blocks) const override;
  void load(Program program, const LoadOptions& options) override;
  size_t cache_block_bytes() const override { return cache_.block_bytes(); }
  void allocate_cache(int num_blocks) override {
    if (num_blocks < 1)
      throw Error(ErrorCode::kInvalidArgument, "a cache needs at least one block");
    cache_.allocate(num_blocks);
    attention_.reserve(int64_t{num_blocks} * kBlockTokens);
  }
  // The team is the device, and the calling thread one of its members: so the step is run by
  // wait().
  void submit(const Batch& batch) override {
    check_batch(batch, program_, options_, cache_.num_blocks());
    batch_ = &batch;
  }
  StepResult wait() override;
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

  static KvCache cache_of(const Program& program, const LoadOptions& options);
  AttentionPlan attention_of(const Program& program, const LoadOptions& options) const;
  size_t scratch_bytes() const {
    return linear_scratch_bytes(kernels_) * static_cast<size_t>(team_.size());
  }
  void make_workspace();
  void prepare(const Batch& batch);
  void plan_step();

  // Each adds an operation's phases to the step. `reader` is the Linear, if any, whose input the
  // operation rounds on the way.
  void plan_rope_tables();
  void plan(const Embed& op);
  void plan(const Receive& op);
  void plan(const RmsNorm& op, const Linear* reader);
  void plan(const Linear& op, bool is_fed);
  void plan(const RopeStore& op);
  void plan(const Attention& op);
  void plan(const GatedActivation& op, const Linear* reader);
  void plan(const GatherRows& op);
  void plan(const SoftCap& op);
  void plan_sampling();
  void sample(size_t logit_row);

  int num_rows(BufferId id) const {
    return static_cast<int>(count_rows(program_.buffers[static_cast<size_t>(id)].rows, *batch_));
  }
  int width(BufferId id) const { return program_.buffers[static_cast<size_t>(id)].width; }
  float* row(BufferId id, int index) const {
    return buffers_[static_cast<size_t>(id)] + static_cast<size_t>(index) * stride(id);
  }
  size_t stride(BufferId id) const { return row_stride(program_, id); }
  // Of a buffer whose rows are dense.
  std::span<float> rows(BufferId id, size_t first, size_t count) const {
    return {row(id, static_cast<int>(first)), count * static_cast<size_t>(width(id))};
  }
  Slices slices(BufferId id, bool may_cut = true) const {
    return {num_rows(id), width(id), may_cut ? num_members_ : 1};
  }
  LinearInput input_of(const Linear& op) const;
  void quantize(const LinearInput& input, BufferId in, int index, int first_column,
                int end_column) const;
  void fill_rope_table(const Rope& rope, int token, float* table) const;
  void rotate_token(const RopeStore& op, int token, int kv_head) const;
  void store_tokens(const RopeStore& op, int first, int end, int kv_head) const;
  void take_maxima(int logit_row, int first_column, int end_column) const;

  const Kernels& kernels_;
  Team team_;
  Staffing staffing_;
  Program program_;
  LoadOptions options_;
  Weights weights_;
  KvCache cache_;
  AttentionPlan attention_;
  // Of ops: the Linear behind one, if that can round what it writes. It need not do so itself.
  std::vector<const Linear*> readers_;

  HugeBuffer workspace_;
  std::vector<float*> buffers_;  // of program_.buffers
  float* maxima_ = nullptr;      // of the logits: [max_logit_rows, num_maxima(vocab_size)]
  uint8_t* codes_ = nullptr;
  uint8_t* floats_ = nullptr;
  std::byte* linear_scratch_ = nullptr;  // of member 0; the others' behind it
  std::vector<float*> rope_tables_;      // of ropes: [max tokens][cosines, sines]

  // This step.
  const Batch* batch_ = nullptr;
  int num_members_ = 1;             // of the team, that work on it
  bool is_prefill_ = false;         // the step computes prompts and nothing else
  int wide_tokens_ = kWideTokens;   // rows of a product that get 16-bit activations
  std::vector<int32_t> positions_;  // of tokens
  std::vector<int32_t> slots_;      // of tokens: place in the cache, block * kBlockTokens + offset
  PhaseList phases_;
  std::vector<LinearInput> linear_inputs_;    // of the phases, which point here
  std::vector<LinearTarget> linear_targets_;  // likewise
  std::vector<SampledToken> sampled_;         // of batch_->samplings
  FirstFailure sampling_failure_;
};

void CpuBackend::load(Program program, const LoadOptions& options) {
  check_program(program, options);
  program_ = std::move(program);
  options_ = options;
  cache_ = cache_of(program_, options);
  weights_ = Weights();  // first, so that old and new need not fit together
  weights_ = Weights(program_);
  weights_.load(program_, team_, options.on_progress);
  for (Weight& weight : program_.weights) weight.data = {};  // not ours to keep
  attention_ = attention_of(program_, options);
  attention_.reserve(0);
  make_workspace();
  size_t num_linears = 0, num_parts = 0;
  readers_.assign(program_.ops.size(), nullptr);
  for (size_t i = 0; i < program_.ops.size(); ++i) {
    const auto* linear = std::get_if<Linear>(&program_.ops[i]);
    if (!linear) continue;
    ++num_linears;
    num_parts += linear->parts.size();
    const auto* norm = i > 0 ? std::get_if<RmsNorm>(&program_.ops[i - 1]) : nullptr;
    const auto* gated = i > 0 ? std::get_if<GatedActivation>(&program_.ops[i - 1]) : nullptr;
    if ((norm && norm->out == linear->in) || (gated && gated->out == linear->in)) {
      readers_[i - 1] = linear;
    }
  }
  linear_inputs_.reserve(num_linears);
  linear_targets_.reserve(num_parts);
}

KvCache CpuBackend::cache_of(const Program& program, const LoadOptions& options) {
  return KvCache(program.num_layers, program.num_kv_heads, program.head_dim,
                 options.cache_type == CacheType::kQ8_0);
}

AttentionPlan CpuBackend::attention_of(const Program& program, const LoadOptions& options) const {
  return AttentionPlan(program.num_heads, program.num_kv_heads, team_.size(),
                       options.max_batch_tokens, cache_of(program, options).padded_dim());
}

MemoryUse CpuBackend::plan(const Program& program, const LoadOptions& options,
                           int num_blocks) const {
  check_program(program, options);
  const auto blocks = static_cast<size_t>(num_blocks);
  const size_t workspace = WorkspaceLayout(program, options, scratch_bytes()).total_bytes;
  const int64_t cache_tokens = int64_t{num_blocks} * kBlockTokens;
  return {Weights(program).size_bytes(),
          HugeBuffer::whole_pages(blocks * cache_of(program, options).block_bytes()),
          HugeBuffer::whole_pages(workspace) +
              attention_of(program, options).workspace_bytes(cache_tokens)};
}

void CpuBackend::make_workspace() {
  const WorkspaceLayout layout(program_, options_, scratch_bytes());
  workspace_ = HugeBuffer();
  workspace_ = HugeBuffer(layout.total_bytes, "the workspace of a step");
  const auto at = [this](size_t place) { return workspace_.data() + place; };
  buffers_.clear();
  for (size_t place : layout.buffers) buffers_.push_back(reinterpret_cast<float*>(at(place)));
  rope_tables_.clear();
  for (size_t place : layout.ropes) rope_tables_.push_back(reinterpret_cast<float*>(at(place)));
  maxima_ = reinterpret_cast<float*>(at(layout.maxima));
  codes_ = reinterpret_cast<uint8_t*>(at(layout.codes));
  floats_ = reinterpret_cast<uint8_t*>(at(layout.floats));
  linear_scratch_ = at(layout.scratch);
  // Fault the pages in now and not in the first prompt.
  constexpr size_t kPieceBytes = size_t{2} << 20;
  const size_t size = workspace_.size();
  team_.run(static_cast<int>((size + kPieceBytes - 1) / kPieceBytes), [&](Pieces& pieces) {
    for (const int piece : pieces) {
      const size_t first = static_cast<size_t>(piece) * kPieceBytes;
      std::memset(workspace_.data() + first, 0, std::min(kPieceBytes, size - first));
    }
  });
}

StepResult CpuBackend::wait() {
  const Batch& batch = *batch_;
  const auto start = Staffing::Clock::now();
  const auto num_tokens = static_cast<int>(batch.tokens.size());
  num_members_ = staffing_.num_members(num_tokens);
  prepare(batch);
  plan_step();
  const auto waited = team_.run(num_members_, phases_.phases());
  const auto now = Staffing::Clock::now();
  staffing_.record(num_tokens, now - start, waited, now);
  sampling_failure_.rethrow();
  const size_t num_logit_rows = batch.logit_rows.size();
  StepResult result;
  result.tokens = sampled_;
  if (batch.samplings.empty()) result.logits = rows(program_.logits, 0, num_logit_rows);
  result.embeddings = rows(program_.hidden, num_logit_rows, batch.embedding_rows.size());
  return result;
}

void CpuBackend::prepare(const Batch& batch) {
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
  attention_.begin(batch, num_members_);
}

void CpuBackend::plan_step() {
  phases_.clear();
  linear_inputs_.clear();
  linear_targets_.clear();
  plan_rope_tables();
  const Linear* fed = nullptr;
  for (size_t i = 0; i < program_.ops.size(); ++i) {
    const Linear* reader = readers_[i];
    std::visit(
        [&](const auto& op) {
          using Kind = std::decay_t<decltype(op)>;
          if constexpr (std::is_same_v<Kind, Linear>) {
            plan(op, fed == &op);
          } else if constexpr (std::is_same_v<Kind, RmsNorm> ||
                               std::is_same_v<Kind, GatedActivation>) {
            plan(op, reader);
          } else {
            plan(op);
          }
        },
        program_.ops[i]);
    fed = reader;
  }
  plan_sampling();
}

void CpuBackend::plan_rope_tables() {
  const auto num_tokens = static_cast<int>(positions_.size());
  phases_.add(num_tokens, [this](Pieces& pieces) {
    for (const int token : pieces) {
      for (size_t r = 0; r < program_.ropes.size(); ++r) {
        fill_rope_table(program_.ropes[r], token, rope_tables_[r]);
      }
    }
  });
}

void CpuBackend::fill_rope_table(const Rope& rope, int token, float* table) const {
  const size_t pairs = rope.inverse_frequency.size();
  float* cosines = table + static_cast<size_t>(token) * pairs * 2;
  float* sines = cosines + pairs;
  const auto position = static_cast<double>(positions_[static_cast<size_t>(token)]);
  for (size_t i = 0; i < pairs; ++i) {
    // In f64: a position of 100,000 in f32 would leave the angle two digits.
    const double angle = position * double{rope.inverse_frequency[i]};
    cosines[i] = static_cast<float>(std::cos(angle));
    sines[i] = static_cast<float>(std::sin(angle));
  }
}

void CpuBackend::plan(const Embed& op) {
  phases_.add(num_rows(op.out), [this, &op](Pieces& pieces) {
    for (const int t : pieces) {
      float* out = row(op.out, t);
      weights_.embedding(op.table, batch_->tokens[static_cast<size_t>(t)], out);
      for (int i = 0; i < width(op.out); ++i) out[i] *= op.scale;
    }
  });
}

void CpuBackend::plan(const Receive& op) {
  phases_.add(num_rows(op.out), [this, &op](Pieces& pieces) {
    const auto count = static_cast<size_t>(width(op.out));
    for (const int t : pieces) {
      std::copy_n(batch_->received.data() + static_cast<size_t>(t) * count, count, row(op.out, t));
    }
  });
}

void CpuBackend::plan(const RmsNorm& op, const Linear* reader) {
  const LinearInput input = reader ? input_of(*reader) : LinearInput{};
  const Slices s = slices(op.in, op.in != op.out);
  phases_.add(s.num_pieces(), [this, &op, input, s](Pieces& pieces) {
    const float* weight = weights_.vector(op.weight);
    for (const int piece : pieces) {
      const int index = s.row(piece), slice = s.slice(piece);
      const int first = s.first_column(slice), end = s.first_column(slice + 1);
      const float* in = row(op.in, index);
      // Every slice sums the whole row: cheaper than to meet in between.
      const float mean = kernels_.sum_of_squares(in, s.width) / static_cast<float>(s.width);
      kernels_.scale_by(in + first, 1.0f / std::sqrt(mean + op.eps), weight + first,
                        row(op.out, index) + first, end - first, op.accumulate);
      quantize(input, op.out, index, first, end);
    }
  });
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
      // One form for all: what has no decoder (F32) wants floats, which every float type takes.
      const bool must_stay = input.needs_floats && input.floats.form == ActivationForm::kFloats;
      if (!must_stay) input.floats = {floats_, form, rows, blocks};
      input.needs_floats = true;
    } else {
      input.needs_codes = true;
      input.codes = {codes_, form, rows, blocks};
    }
  }
  return input;
}

// Nothing where no Linear wants it.
void CpuBackend::quantize(const LinearInput& input, BufferId in, int index, int first_column,
                          int end_column) const {
  if (index >= input.rows) return;
  const int first = first_column / kBlockColumns, end = end_column / kBlockColumns;
  if (input.needs_codes) quantize_row(kernels_, input.codes, index, row(in, index), first, end);
  if (input.needs_floats) quantize_row(kernels_, input.floats, index, row(in, index), first, end);
}

// `is_fed`: the operation before has rounded the input already.
void CpuBackend::plan(const Linear& op, bool is_fed) {
  const LinearInput& input = linear_inputs_.emplace_back(input_of(op));
  if (!is_fed) {
    const Slices s = slices(op.in);
    phases_.add(s.num_pieces(), [this, &op, &input, s](Pieces& pieces) {
      for (const int piece : pieces) {
        const int slice = s.slice(piece);
        quantize(input, op.in, s.row(piece), s.first_column(slice), s.first_column(slice + 1));
      }
    });
  }
  const size_t first = linear_targets_.size();
  for (const LinearPart& part : op.parts) {
    const PackedMatrix& matrix = weights_.matrix(part.weight);
    linear_targets_.push_back({&matrix, matrix.is_float() ? &input.floats : &input.codes,
                               weights_.vector(part.bias), row(part.out, 0), stride(part.out),
                               part.accumulate, part.out == program_.logits ? maxima_ : nullptr});
  }
  const std::span targets(linear_targets_.data() + first, op.parts.size());
  phases_.add(cut_linear(targets, num_members_), [this, targets](Pieces& pieces) {
    const size_t scratch_bytes = linear_scratch_bytes(kernels_);
    run_linear(kernels_, targets, pieces,
               linear_scratch_ + static_cast<size_t>(pieces.member()) * scratch_bytes);
  });
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

// Stores the keys and values of tokens of one kv head.
void CpuBackend::store_tokens(const RopeStore& op, int first, int end, int kv_head) const {
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

void CpuBackend::plan(const RopeStore& op) {
  // Neighbouring tokens share the cache lines of keys: a piece has several.
  constexpr int kMostTokens = 16;
  const int tokens = num_rows(op.q);
  const int per_piece = std::clamp(tokens / (4 * num_members_), 1, kMostTokens);
  const int num_pieces = (tokens + per_piece - 1) / per_piece * program_.num_kv_heads;
  phases_.add(num_pieces, [this, &op, tokens, per_piece](Pieces& pieces) {
    for (const int piece : pieces) {
      const int first = piece / program_.num_kv_heads * per_piece;
      const int end = std::min(first + per_piece, tokens), kv_head = piece % program_.num_kv_heads;
      for (int t = first; t < end; ++t) rotate_token(op, t, kv_head);
      store_tokens(op, first, end, kv_head);
    }
  });
}

void CpuBackend::plan(const Attention& op) {
  const AttentionPlan::Operation operation{row(op.q, 0), row(op.out, 0), stride(op.q),
                                           op.layer,     op.scale,       op.window};
  phases_.add(attention_.num_attend_pieces(operation), [this, operation](Pieces& pieces) {
    attention_.attend(operation, kernels_, cache_, *batch_, pieces);
  });
  phases_.add(attention_.num_fold_pieces(operation), [this, operation](Pieces& pieces) {
    attention_.fold(operation, kernels_, cache_, *batch_, pieces);
  });
}

void CpuBackend::plan(const GatedActivation& op, const Linear* reader) {
  const LinearInput input = reader ? input_of(*reader) : LinearInput{};
  const Slices s = slices(op.gate);
  phases_.add(s.num_pieces(), [this, &op, input, s](Pieces& pieces) {
    const auto activate =
        op.activation == Activation::kSilu ? kernels_.silu_times : kernels_.gelu_times;
    for (const int piece : pieces) {
      const int index = s.row(piece), slice = s.slice(piece);
      const int first = s.first_column(slice), end = s.first_column(slice + 1);
      activate(row(op.gate, index) + first, row(op.up, index) + first, row(op.out, index) + first,
               end - first);
      quantize(input, op.out, index, first, end);
    }
  });
}

void CpuBackend::plan(const GatherRows& op) {
  phases_.add(num_rows(op.out), [this, &op](Pieces& pieces) {
    for (const int i : pieces) {
      const float* from = row(op.in, batch_->output_row(static_cast<size_t>(i)));
      std::copy(from, from + width(op.in), row(op.out, i));
    }
  });
}

void CpuBackend::plan(const SoftCap& op) {
  const Slices s = slices(op.buffer);
  phases_.add(s.num_pieces(), [this, &op, s](Pieces& pieces) {
    for (const int piece : pieces) {
      const int index = s.row(piece), slice = s.slice(piece);
      const int first = s.first_column(slice), end = s.first_column(slice + 1);
      kernels_.soft_cap(row(op.buffer, index) + first, op.cap, end - first);
      if (op.buffer == program_.logits) take_maxima(index, first, end);
    }
  });
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

void CpuBackend::plan_sampling() {
  sampled_.assign(batch_->samplings.size(), {});
  if (sampled_.empty()) return;
  phases_.add(static_cast<int>(sampled_.size()), [this](Pieces& pieces) {
    for (const int piece : pieces) sample(static_cast<size_t>(piece));
  });
}

void CpuBackend::sample(size_t logit_row) {
  const size_t stride = num_maxima(static_cast<size_t>(program_.vocab_size));
  const LogitRow logits{rows(program_.logits, logit_row, 1),
                        {maxima_ + logit_row * stride, stride}};
  try {
    sampled_[logit_row] = sample_row(logits, batch_->samplings[logit_row]);
  } catch (...) {
    sampling_failure_.take_current();  // phases must not throw
  }
}

}  // namespace
}  // namespace cpu

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options) {
  return std::make_unique<cpu::CpuBackend>(options);
}

}  // namespace sluice::backend
