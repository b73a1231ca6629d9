#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "engine/block_pool.h"
#include "engine/request.h"
#include "engine/sequence.h"
#include "engine/step_cost.h"

namespace sluice::engine {

struct SchedulerOptions {
  int num_blocks = 0;
  int max_batch_tokens = 512;    // token budget of one step
  int max_sequences = 64;        // most sequences running; at most max_batch_tokens
  int max_logit_rows = 64;       // most rows of logits in one step; at least max_sequences
  double max_itl_stretch = 2.0;  // as EngineOptions
  bool enable_prefix_cache = true;
  // A step with drafts has at most Traits::exact_rows rows of at most exact_sequences sequences:
  // then its logits are bit for bit those of steps without.
  backend::Traits traits;
};

// Of a step's prefill, when prompts wait for the rest.
inline constexpr double kSuccessorShare = 0.75;

struct SchedulerCounters {
  uint64_t num_prefilled_tokens = 0;  // computed in chunks, after a preemption once more
  uint64_t num_cached_tokens = 0;     // not computed thanks to the prefix cache
  uint64_t num_preemptions = 0;
  uint64_t num_shifts = 0;
  uint64_t num_refills = 0;        // of these, with no complete successor
  uint64_t num_queued_starts = 0;  // requests that had to wait a step or more and then began
};

// Decides what each step computes: continuous batching with chunked prefill over a paged cache.
//
// - Every decoding sequence first, oldest first. When blocks run short the youngest running
//   sequence is preempted: it gives its blocks back, keeps its tokens, waits at its old place and
//   is recomputed. The oldest always gets on, so every request ends.
// - Waiting requests are admitted strictly in the order of their ids, when the blocks of all their
//   tokens are free and every running sequence could still grow by one. What the prefix cache holds
//   is taken from there, also what it learns while a prompt is being computed; the last token is
//   always computed, for its logits.
// - The rest of the token budget is prefill: half of it for the oldest prompt, so that none waits
//   for ever, the other half for those nearest to their first token, so that a short prompt does
//   not wait for a long one. What they leave goes to the others. Beside decoding sequences there is
//   only so much prefill as keeps their ITL within max_itl_stretch: StepCost. When all places are
//   taken there is at least a token for each short prompt: as much work as if it decoded already.
// - A sequence whose context will soon be full gets a successor when blocks are free: the tokens as
//   the shift will leave them, in blocks of their own, computed beside its last decodes and within
//   the bound of the ITL. The shift then only changes over. It is given up when blocks are short;
//   what it lacks at the shift is computed then, while the sequence waits.
// - Drafts are checked in small steps that only decode, when blocks are free.
//
// A step is plan(), the forward pass, complete(), then append() or remove() for each chunk that
// wanted logits; accept(), append() and so on for each draft token that was right. A plain object
// for one thread; time is an argument.
class Scheduler {
 public:
  // Throws Error(kInvalidArgument) naming an option out of range.
  explicit Scheduler(const SchedulerOptions& options);

  // Most tokens one sequence can ever hold.
  int max_sequence_tokens() const { return pool_.num_total() * backend::kBlockTokens; }

  // Puts a request at the end of the queue. `id` must be larger than every one before; `prompt` not
  // empty and at most max_sequence_tokens().
  Sequence& add(RequestId id, std::vector<text::TokenId> prompt,
                std::optional<Clock::time_point> deadline = {});
  // Takes a request out, wherever it is, and frees its blocks. One that is planned only when the
  // forward pass failed: then every planned one instead of complete().
  void remove(RequestId id);
  // Null when there is none.
  Sequence* find(RequestId id);
  // Those whose deadline has passed.
  std::vector<RequestId> expired(Clock::time_point now) const;

  // The next step's chunks, in the order of ids; empty only when there is no request at all.
  std::span<const Chunk> plan(Clock::time_point now);
  // How long the forward pass of the planned step took, before complete(): that is how the bound of
  // the ITL knows its measure. Without it the bound is only a guess.
  void observe(std::chrono::nanoseconds forward_time) { cost_.observe(shape_, forward_time); }
  // The planned chunks have been computed.
  void complete();
  // The next token of a sequence whose tokens are all computed. True when that filled its context
  // and Sequence::shift has been done: its tokens are other ones now.
  bool append(Sequence& sequence, text::TokenId token);
  // The token just appended was the next of the draft that the step has computed, too.
  void accept(Sequence& sequence);

  // Expected time in seconds of a step that decodes what runs, with drafts up to `num_rows` rows;
  // 0: nothing is known yet.
  double decode_time(int num_rows) const;

  bool is_idle() const { return running_.empty() && waiting_.empty(); }
  int num_running() const { return static_cast<int>(running_.size()); }
  int num_waiting() const { return static_cast<int>(waiting_.size()); }
  // The front of the queue found too few free blocks, not too many others that run.
  bool is_short_of_blocks() const;
  const BlockPool& pool() const { return pool_; }
  const SchedulerCounters& counters() const { return counters_; }
  // In the order of ids; of the waiting ones the first is next.
  void for_each_running(const std::function<void(const Sequence&)>& visit) const;
  void for_each_waiting(const std::function<void(const Sequence&)>& visit,
                        size_t most = std::numeric_limits<size_t>::max()) const;

  // Throws Error(kInternal) saying what does not fit together. For tests and debugging.
  void check_integrity() const;

 private:
  // By id, which is the order of arrival.
  using Sequences = std::map<RequestId, std::unique_ptr<Sequence>>;

  void plan_decodes();
  void plan_prefills();
  std::vector<Sequence*> running_prompts();
  void bound_prefills(std::span<Sequence* const> prompts, const Sequence* oldest,
                      std::span<Sequence* const> shifting);
  int num_free_prefill_tokens(std::span<Sequence* const> prompts) const;
  StepShape step_shape() const;
  void plan_drafts();
  void plan_chunk(Sequence& sequence, int num_tokens);

  std::vector<Sequence*> shifting_sequences();
  void plan_successors(std::span<Sequence* const> shifting, bool has_prompts);
  bool try_start_successor(Sequence& sequence);
  bool give_up_successor();
  bool release_successor(Sequence& sequence);
  void shift(Sequence& sequence);

  int num_missing_blocks(const Sequence& sequence) const;
  void fit_blocks(Sequence& sequence);
  void allocate(CachedTokens& cached, int num_blocks);
  void preempt_youngest();
  void admit_waiting(Clock::time_point now);
  bool try_admit(Sequence& sequence);
  int take_cached_prefix(CachedTokens& cached);
  void take_cached_prefix(Sequence& sequence);
  void count_cached(Sequence& sequence, int num_tokens);
  void publish_full_blocks(CachedTokens& cached);
  void release(CachedTokens& cached);
  void release_blocks(Sequence& sequence);
  void count_references(const CachedTokens& cached, std::vector<int>& references) const;

  const SchedulerOptions options_;
  BlockPool pool_;
  Sequences waiting_;
  Sequences running_;
  std::set<std::pair<Clock::time_point, RequestId>> deadlines_;
  std::vector<Chunk> chunks_;
  size_t num_decodes_ = 0;           // of them; they come first until the plan is sorted
  int budget_ = 0;                   // tokens left in the step being planned
  int num_free_prefill_tokens_ = 0;  // as StepShape
  StepShape shape_;                  // of the planned step
  StepCost cost_;
  SchedulerCounters counters_;
  // The front of the queue that did not fit, and the free blocks it saw: it is tried again only
  // when there are more.
  RequestId refused_id_ = 0;
  int refused_num_free_ = 0;
  RequestId last_waiting_id_ = 0;  // of those that the latest plan left waiting
};

}  // namespace sluice::engine
