#include <algorithm>
#include <memory>
#include <utility>

#include "engine/scheduler.h"

// What a scheduler does for sequences whose context is full, or will be soon.
namespace sluice::engine {
namespace {

// A successor is computed at this share of the pace that the bound of the ITL allows at first: the
// rest is for its own growing context, for steps that are longer than expected, and for guesses.
constexpr double kSuccessorPace = 0.15;
constexpr double kLeastPace = 1.1;  // tokens a step: nearly all machines can do that
constexpr int kFirstTokens = 2;     // when nobody knows yet what they cost

// When none is guessed.
int num_steps_to_shift(const Sequence& sequence) {
  return sequence.shift->limit - sequence.num_tokens();
}

// Tokens to compute for a successor that is complete when the shift comes.
int num_left_before_shift(const Sequence& sequence) {
  const int num_tokens = sequence.shift->limit - sequence.shift->num_tokens - 1;
  return num_tokens - (sequence.successor ? sequence.successor->num_computed : 0);
}

// What its shift takes out is all there.
bool may_have_successor(const Sequence& sequence) {
  if (!sequence.shift) return false;
  return sequence.num_tokens() > sequence.shift->num_keep + sequence.shift->num_tokens;
}

}  // namespace

// Decoding sequences that have a successor or may get one, the nearest to its shift first.
std::vector<Sequence*> Scheduler::shifting_sequences() {
  std::vector<Sequence*> shifting;
  for (const Chunk& chunk : chunks_) {
    if (chunk.is_decode && may_have_successor(*chunk.sequence)) shifting.push_back(chunk.sequence);
  }
  std::stable_sort(shifting.begin(), shifting.end(), [](const Sequence* a, const Sequence* b) {
    return num_steps_to_shift(*a) < num_steps_to_shift(*b);
  });
  return shifting;
}

// As late as it can be done in time, for it is for nothing when the reply ends before.
void Scheduler::plan_successors(std::span<Sequence* const> shifting, bool has_prompts) {
  const int num_decodes = static_cast<int>(num_decodes_);
  const bool is_exact = !has_prompts && num_decodes <= options_.traits.exact_sequences &&
                        num_decodes < options_.traits.exact_rows;
  int budget = has_prompts ? static_cast<int>(kSuccessorShare * budget_) : budget_;
  if (is_exact) budget = std::min(budget, options_.traits.exact_rows - num_decodes);
  if (!cost_.knows_prefill()) budget = std::min(budget, kFirstTokens);
  const double pace = std::max(kLeastPace, kSuccessorPace * budget);
  double num_left = 0;
  const bool is_due = std::any_of(shifting.begin(), shifting.end(), [&](const Sequence* sequence) {
    num_left += num_left_before_shift(*sequence);
    const int num_later_steps = num_steps_to_shift(*sequence) - 1;
    return num_left > pace * num_later_steps;
  });
  if (!is_due) return;
  int num_free_rows = options_.max_batch_tokens - num_decodes;
  for (Sequence* sequence : shifting) {
    // In the last step a few rows more take less time than a step more.
    const bool is_last_step = num_steps_to_shift(*sequence) == 1;
    const int most = std::min(num_free_rows,
                              is_last_step ? std::max(budget, options_.traits.row_group) : budget);
    if (most <= 0) return;
    if (!sequence->successor && !try_start_successor(*sequence)) continue;
    CachedTokens& successor = *sequence->successor;
    counters_.num_cached_tokens += static_cast<uint64_t>(take_cached_prefix(successor));
    Chunk chunk;
    chunk.sequence = sequence;
    chunk.cached = &successor;
    chunk.num_tokens = std::min(most, successor.num_remaining());
    chunk.is_prompt = !is_exact;
    if (chunk.num_tokens == 0) continue;
    chunks_.push_back(chunk);
    num_free_rows -= chunk.num_tokens;
    budget = std::max(0, budget - chunk.num_tokens);
    budget_ = std::max(0, budget_ - chunk.num_tokens);
  }
}

// Takes all its blocks at once, and only where every running sequence can still grow by one.
bool Scheduler::try_start_successor(Sequence& sequence) {
  const ContextShift& shift = *sequence.shift;
  const int num_blocks = blocks_for(shift.limit - shift.num_tokens);
  const int num_at_least = num_blocks - shift.num_keep / backend::kBlockTokens;
  if (is_short_of_blocks() || !pool_.can_allocate(num_at_least + num_running())) return false;
  sequence.successor = std::make_unique<CachedTokens>();
  CachedTokens& successor = *sequence.successor;
  successor.tokens = shifted_tokens(sequence);
  const int num_cached = take_cached_prefix(successor);
  const int num_missing = num_blocks - static_cast<int>(successor.blocks.size());
  if (!pool_.can_allocate(num_missing + num_running())) {
    release_successor(sequence);
    return false;
  }
  allocate(successor, num_missing);
  counters_.num_cached_tokens += static_cast<uint64_t>(num_cached);
  return true;
}

// The youngest's; false when there is none.
bool Scheduler::give_up_successor() {
  for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
    if (release_successor(*it->second)) return true;
  }
  return false;
}

bool Scheduler::release_successor(Sequence& sequence) {
  const std::unique_ptr<CachedTokens> successor = std::move(sequence.successor);
  if (successor) release(*successor);
  return successor != nullptr;
}

void Scheduler::shift(Sequence& sequence) {
  const ContextShift& shift = *sequence.shift;
  std::unique_ptr<CachedTokens> successor = std::move(sequence.successor);
  if (!successor) {
    successor = std::make_unique<CachedTokens>();
    successor->tokens = shifted_tokens(sequence);
  }
  release_blocks(sequence);
  static_cast<CachedTokens&>(sequence) = std::move(*successor);
  sequence.num_shifted_tokens += shift.num_tokens;
  sequence.num_leading_prompt_tokens = shift.num_left_of(sequence.num_leading_prompt_tokens);
  sequence.is_refilling = !sequence.is_decoding();
  ++counters_.num_shifts;
  if (sequence.is_refilling) ++counters_.num_refills;
}

}  // namespace sluice::engine
