#include "backend/pipeline.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "backend/check.h"
#include "base/error.h"

namespace sluice::backend {
namespace {

// Calls on_weight and on_buffer with each number that an operation holds.
template <typename OnWeight, typename OnBuffer>
void for_each_id(Op& op, OnWeight& on_weight, OnBuffer& on_buffer) {
  if (auto* embed = std::get_if<Embed>(&op)) {
    on_weight(embed->table);
    on_buffer(embed->out);
  } else if (auto* receive = std::get_if<Receive>(&op)) {
    on_buffer(receive->out);
  } else if (auto* norm = std::get_if<RmsNorm>(&op)) {
    on_buffer(norm->in);
    on_weight(norm->weight);
    on_buffer(norm->out);
  } else if (auto* linear = std::get_if<Linear>(&op)) {
    on_buffer(linear->in);
    for (LinearPart& part : linear->parts) {
      on_weight(part.weight);
      on_weight(part.bias);
      on_buffer(part.out);
    }
  } else if (auto* rope = std::get_if<RopeStore>(&op)) {
    for (BufferId* id : {&rope->q, &rope->k, &rope->v}) on_buffer(*id);
    for (WeightId* id : {&rope->q_norm, &rope->k_norm}) on_weight(*id);
  } else if (auto* attention = std::get_if<Attention>(&op)) {
    on_buffer(attention->q);
    on_buffer(attention->out);
  } else if (auto* gated = std::get_if<GatedActivation>(&op)) {
    for (BufferId* id : {&gated->gate, &gated->up, &gated->out}) on_buffer(*id);
  } else if (auto* gather = std::get_if<GatherRows>(&op)) {
    on_buffer(gather->in);
    on_buffer(gather->out);
  } else if (auto* cap = std::get_if<SoftCap>(&op)) {
    on_buffer(cap->buffer);
  }
}

// Of a list those that are used, numbered anew in the order in which they are met.
template <typename T>
class Kept {
 public:
  explicit Kept(const std::vector<T>& all) : all_(all), ids_(all.size(), -1) {}

  void operator()(int32_t& id) {
    if (id < 0) return;  // none
    int32_t& mine = ids_[static_cast<size_t>(id)];
    if (mine < 0) {
      mine = static_cast<int32_t>(list_.size());
      list_.push_back(all_[static_cast<size_t>(id)]);
    }
    id = mine;
  }
  std::vector<T> take() { return std::move(list_); }

 private:
  const std::vector<T>& all_;
  std::vector<int32_t> ids_;
  std::vector<T> list_;
};

// Leaves out the weights and buffers that nothing uses.
Program without_unused(Program program) {
  Kept<Weight> weights(program.weights);
  Kept<Buffer> buffers(program.buffers);
  for (Op& op : program.ops) for_each_id(op, weights, buffers);
  for (BufferId* id : {&program.logits, &program.hidden, &program.state}) buffers(*id);
  program.weights = weights.take();
  program.buffers = buffers.take();
  return program;
}

// Tokens of a step that go through the stages together.
struct Piece {
  int first_token = 0, num_tokens = 0;
  std::vector<BatchSequence> sequences;  // their first_token counted from the piece's
};

void add_to(Piece& piece, const BatchSequence& sequence, int first, int count) {
  BatchSequence part = sequence;
  part.first_token = piece.num_tokens;
  part.num_tokens = count;
  part.num_cached += first;
  piece.sequences.push_back(part);
  piece.num_tokens += count;
}

// Pieces with about `least` tokens of prompts each, or a little more; 0: the step as it is. To cut
// what does not belong to prompts would not pay: each piece reads all weights again.
std::vector<Piece> cut_step(const Batch& batch, int least) {
  const auto num_tokens = static_cast<int>(batch.tokens.size());
  int num_prompt_tokens = 0;
  for (const BatchSequence& sequence : batch.sequences) {
    if (sequence.is_prompt) num_prompt_tokens += sequence.num_tokens;
  }
  const int count = least > 0 ? std::max(num_prompt_tokens / least, 1) : 1;
  std::vector<Piece> pieces(1);
  int64_t turn = 1;  // the last piece ends where this one should; what is not cut may reach further
  for (const BatchSequence& sequence : batch.sequences) {
    for (int done = 0; done < sequence.num_tokens;) {
      const int at = sequence.first_token + done;
      const auto end = static_cast<int>(num_tokens * turn / count);
      if (at >= end) {
        ++turn;
        if (pieces.back().num_tokens > 0) pieces.push_back({at, 0, {}});
        continue;
      }
      const int left = sequence.num_tokens - done;
      const int taken = sequence.is_prompt ? std::min(left, end - at) : left;
      add_to(pieces.back(), sequence, done, taken);
      done += taken;
    }
  }
  return pieces;
}

// Of rows, ascending, those of a piece, counted from its first token; and where they begin.
struct PieceRows {
  size_t first = 0;
  std::vector<int32_t> rows;
};
PieceRows rows_of(const Piece& piece, const std::vector<int32_t>& rows) {
  const auto begin = std::lower_bound(rows.begin(), rows.end(), piece.first_token);
  const auto end = std::lower_bound(begin, rows.end(), piece.first_token + piece.num_tokens);
  PieceRows mine{static_cast<size_t>(begin - rows.begin()), {begin, end}};
  for (int32_t& row : mine.rows) row -= piece.first_token;
  return mine;
}

class Pipeline final : public Backend {
 public:
  explicit Pipeline(std::vector<PipelineStage> stages) : stages_(std::move(stages)) {}

  Traits traits() const override;
  std::string description() const override;
  MemoryUse plan(const Program& program, const LoadOptions& options, int num_blocks) const override;
  void load(Program program, const LoadOptions& options) override;
  size_t cache_block_bytes() const override;
  void allocate_cache(int num_blocks) override;
  void submit(const Batch& batch) override;
  StepResult wait() override;
  MemoryUse memory() const override;
  bool is_lost() const override {
    return std::any_of(stages_.begin(), stages_.end(),
                       [](const PipelineStage& stage) { return stage.device->is_lost(); });
  }
  std::vector<Stage> stages() const override {
    std::vector<Stage> list;
    for (const PipelineStage& stage : stages_) {
      list.push_back({stage.device.get(), stage.num_layers});
    }
    return list;
  }

 private:
  // Calls visit(device, its program, its options) in order.
  template <typename Visit>
  void for_each_part(const Program& program, const LoadOptions& options, Visit visit) const;
  void start(size_t turn);
  void finish();
  void settle() noexcept;
  void submit_piece(size_t stage, const Piece& piece);
  void take(size_t stage, const StepResult& result);

  // What a stage has for its step, and what it gave.
  struct StageStep {
    Batch batch;
    std::vector<float> kept;        // of one piece, while it computes the next
    std::span<const float> result;  // [tokens of the piece, width]
  };

  std::vector<PipelineStage> stages_;
  Program limits_;  // of the model only what check_batch() asks for
  LoadOptions options_;
  int num_blocks_ = 0;

  // This step. In its turn t stage s computes piece t - s.
  const Batch* batch_ = nullptr;
  std::vector<Piece> pieces_;
  std::vector<StageStep> steps_;  // of the stages
  std::vector<size_t> started_;   // stages that compute, the last one first
  StepResult result_;             // of pieces that are done, where it points to:
  std::vector<SampledToken> tokens_;
  std::vector<float> logits_, embeddings_;
};

MemoryUse& operator+=(MemoryUse& sum, const MemoryUse& more) {
  sum.weights += more.weights;
  sum.cache += more.cache;
  sum.workspace += more.workspace;
  sum.on_device += more.on_device;
  return sum;
}

Traits Pipeline::traits() const {
  Traits all = stages_.front().device->traits();
  for (const PipelineStage& stage : stages_) {
    const Traits one = stage.device->traits();
    all.exact_rows = std::min(all.exact_rows, one.exact_rows);
    all.exact_sequences = std::min(all.exact_sequences, one.exact_sequences);
    all.row_group = std::max(all.row_group, one.row_group);
    all.piece_tokens = all.piece_tokens > 0 && one.piece_tokens > 0
                           ? std::max(all.piece_tokens, one.piece_tokens)
                           : 0;
    all.uses_host_memory |= one.uses_host_memory;
  }
  return all;
}

// The last stage first: it is the device that was filled first.
std::string Pipeline::description() const {
  std::string text;
  for (auto stage = stages_.rbegin(); stage != stages_.rend(); ++stage) {
    text += (text.empty() ? "" : " + ") + stage->device->description() + " (" +
            std::to_string(stage->num_layers) + (stage->num_layers == 1 ? " layer)" : " layers)");
  }
  return text;
}

template <typename Visit>
void Pipeline::for_each_part(const Program& program, const LoadOptions& options,
                             Visit visit) const {
  int first = 0;
  for (const PipelineStage& stage : stages_) {
    const bool is_last = &stage == &stages_.back();
    const int end = first + stage.num_layers;
    if (is_last && end != program.num_layers) {
      throw Error(ErrorCode::kInvalidArgument, "the stages have " + std::to_string(end) +
                                                   " layers, the model " +
                                                   std::to_string(program.num_layers));
    }
    visit(*stage.device, cut_program(program, first, end), stage_options(options, is_last));
    first = end;
  }
}

MemoryUse Pipeline::plan(const Program& program, const LoadOptions& options, int num_blocks) const {
  MemoryUse sum;
  for_each_part(program, options,
                [&](Backend& device, const Program& part, const LoadOptions& its_options) {
                  sum += device.plan(part, its_options, num_blocks);
                });
  return sum;
}

void Pipeline::load(Program program, const LoadOptions& options) {
  num_blocks_ = 0;
  const auto weight_bytes = [](const Program& part) {
    double sum = 1;
    for (const Weight& weight : part.weights) sum += static_cast<double>(weight.data.size());
    return sum;
  };
  double all = 0, done = 0;
  for_each_part(program, options, [&](Backend&, const Program& part, const LoadOptions&) {
    all += weight_bytes(part);
  });
  for_each_part(program, options, [&](Backend& device, Program part, LoadOptions its_options) {
    const double bytes = weight_bytes(part);
    if (options.on_progress) {
      its_options.on_progress = [&](double fraction) {
        options.on_progress((done + fraction * bytes) / all);
      };
    }
    device.load(std::move(part), its_options);
    done += bytes;
  });
  limits_.vocab_size = program.vocab_size;
  options_ = options;
}

size_t Pipeline::cache_block_bytes() const {
  size_t sum = 0;
  for (const PipelineStage& stage : stages_) sum += stage.device->cache_block_bytes();
  return sum;
}

void Pipeline::allocate_cache(int num_blocks) {
  num_blocks_ = 0;
  for (const PipelineStage& stage : stages_) stage.device->allocate_cache(num_blocks);
  num_blocks_ = num_blocks;
}

MemoryUse Pipeline::memory() const {
  MemoryUse sum;
  for (const PipelineStage& stage : stages_) sum += stage.device->memory();
  return sum;
}

void Pipeline::submit(const Batch& batch) {
  check_batch(batch, limits_, options_, num_blocks_);
  batch_ = &batch;
  pieces_ = cut_step(batch, traits().piece_tokens);
  steps_.resize(stages_.size());
  result_ = {};
  tokens_.clear();
  logits_.clear();
  embeddings_.clear();
  start(0);
}

StepResult Pipeline::wait() {
  const size_t num_turns = stages_.size() + pieces_.size() - 1;
  for (size_t turn = 0;; ++turn) {
    finish();
    if (turn + 1 == num_turns) return result_;
    start(turn + 1);
  }
}

// The last stage first: it reads what the one before it overwrites in this turn.
void Pipeline::start(size_t turn) {
  const size_t end = std::min(turn + 1, stages_.size());
  try {
    for (size_t stage = end; stage-- > 0 && turn - stage < pieces_.size();) {
      submit_piece(stage, pieces_[turn - stage]);
      started_.push_back(stage);
    }
  } catch (...) {
    settle();
    throw;
  }
}

void Pipeline::finish() {
  try {
    while (!started_.empty()) {
      const size_t stage = started_.front();
      started_.erase(started_.begin());
      take(stage, stages_[stage].device->wait());
    }
  } catch (...) {
    settle();
    throw;
  }
}

// After a failure: nothing of the step computes any more.
void Pipeline::settle() noexcept {
  for (const size_t stage : std::exchange(started_, {})) {
    try {
      stages_[stage].device->wait();
    } catch (const std::exception&) {  // what failed first is told
    }
  }
}

void Pipeline::submit_piece(size_t stage, const Piece& piece) {
  const bool is_last = stage + 1 == stages_.size();
  Batch& batch = steps_[stage].batch;
  batch.clear();
  const auto first = batch_->tokens.begin() + piece.first_token;
  batch.tokens.assign(first, first + piece.num_tokens);
  batch.sequences = piece.sequences;
  if (is_last) {
    const auto [first_logits, logit_rows] = rows_of(piece, batch_->logit_rows);
    batch.logit_rows = logit_rows;
    batch.embedding_rows = rows_of(piece, batch_->embedding_rows).rows;
    if (!batch_->samplings.empty()) {
      const auto sampling = batch_->samplings.begin() + static_cast<ptrdiff_t>(first_logits);
      batch.samplings.assign(sampling, sampling + std::ssize(logit_rows));
    }
  } else {
    batch.embedding_rows.resize(batch.tokens.size());
    std::iota(batch.embedding_rows.begin(), batch.embedding_rows.end(), 0);
  }
  if (stage > 0) batch.received = steps_[stage - 1].result;
  stages_[stage].device->submit(batch);
}

// A stage's result is its device's until the next piece is submitted there.
void Pipeline::take(size_t stage, const StepResult& result) {
  const bool is_whole = pieces_.size() == 1;
  if (stage + 1 < stages_.size()) {
    StageStep& step = steps_[stage];
    if (!is_whole) step.kept.assign(result.embeddings.begin(), result.embeddings.end());
    step.result = is_whole ? result.embeddings : std::span<const float>(step.kept);
    return;
  }
  if (is_whole) {
    result_ = result;
    return;
  }
  tokens_.insert(tokens_.end(), std::move_iterator(result.tokens.begin()),
                 std::move_iterator(result.tokens.end()));
  logits_.insert(logits_.end(), result.logits.begin(), result.logits.end());
  embeddings_.insert(embeddings_.end(), result.embeddings.begin(), result.embeddings.end());
  result_ = {tokens_, logits_, embeddings_};
}

}  // namespace

Program cut_program(const Program& program, int first, int end) {
  if (first < 0 || end <= first || end > program.num_layers ||
      std::cmp_not_equal(program.layer_starts.size(), program.num_layers)) {
    throw Error(
        ErrorCode::kInvalidArgument,
        "the model has no layers from " + std::to_string(first) + " up to " + std::to_string(end));
  }
  const bool is_last = end == program.num_layers;
  const auto op_at = [&](int layer) {
    return program.ops.begin() +
           static_cast<ptrdiff_t>(program.layer_starts[static_cast<size_t>(layer)]);
  };
  Program part = program;
  part.num_layers = end - first;
  part.ops.assign(first == 0 ? program.ops.begin() : op_at(first),
                  is_last ? program.ops.end() : op_at(end));
  part.layer_starts.clear();
  for (Op& op : part.ops) {
    if (auto* rope = std::get_if<RopeStore>(&op)) rope->layer -= first;
    if (auto* attention = std::get_if<Attention>(&op)) attention->layer -= first;
  }
  if (first > 0) part.ops.insert(part.ops.begin(), Receive{program.state});
  if (!is_last) {
    part.hidden = static_cast<BufferId>(part.buffers.size());
    part.buffers.push_back(
        {part.buffers[static_cast<size_t>(part.state)].width, RowKind::kOutputs});
    part.ops.push_back(GatherRows{part.state, part.hidden});
  }
  return without_unused(std::move(part));
}

LoadOptions stage_options(const LoadOptions& options, bool is_last) {
  LoadOptions own = options;
  if (is_last) return own;
  own.max_logit_rows = 0;
  own.max_embedding_rows = options.max_batch_tokens;
  return own;
}

std::unique_ptr<Backend> make_pipeline(std::vector<PipelineStage> stages) {
  return std::make_unique<Pipeline>(std::move(stages));
}

}  // namespace sluice::backend
