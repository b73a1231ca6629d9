#include "engine/scheduler.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace sluice::engine {
namespace {

constexpr int kBlockTokens = backend::kBlockTokens;

BlockTokens tokens_of_block(const CachedTokens& cached, int index) {
  return BlockTokens(cached.tokens.data() + index * kBlockTokens, kBlockTokens);
}

// Blocks that end before the last token, which is always computed for its logits.
int num_cacheable_blocks(const CachedTokens& cached) {
  return (cached.num_tokens() - 1) / kBlockTokens;
}

void require_scheduler(bool is_true, std::string_view what) {
  if (!is_true) throw Error(ErrorCode::kInternal, "scheduler: " + std::string(what));
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options),
      pool_(options.num_blocks, options.enable_prefix_cache),
      cost_(options.max_itl_stretch, options.traits) {
  require_argument(options.max_itl_stretch == 0 || options.max_itl_stretch > 1,
                   "max_itl_stretch must be above 1, or 0 for no bound");
  require_argument(options.max_sequences > 0, "max_sequences must be positive");
  require_argument(options.max_batch_tokens >= options.max_sequences,
                   "max_batch_tokens must be at least max_sequences: a step holds a token of each");
}

Sequence& Scheduler::add(RequestId id, std::vector<text::TokenId> prompt,
                         std::optional<Clock::time_point> deadline) {
  require_scheduler(!prompt.empty() && prompt.size() <= static_cast<size_t>(max_sequence_tokens()),
                    "a prompt that is empty or larger than the cache");
  const bool is_last = (waiting_.empty() || waiting_.rbegin()->first < id) &&
                       (running_.empty() || running_.rbegin()->first < id);
  require_scheduler(is_last, "ids must rise");
  auto sequence = std::make_unique<Sequence>();
  sequence->id = id;
  sequence->num_prompt_tokens = static_cast<int>(prompt.size());
  sequence->num_leading_prompt_tokens = sequence->num_prompt_tokens;
  sequence->tokens = std::move(prompt);
  sequence->deadline = deadline;
  // First of all: remove() finds it, whatever fails behind.
  Sequence& added = *waiting_.emplace(id, std::move(sequence)).first->second;
  if (deadline) deadlines_.emplace(*deadline, id);
  return added;
}

void Scheduler::remove(RequestId id) {
  Sequences::node_type node = running_.extract(id);
  if (!node) node = waiting_.extract(id);
  require_scheduler(!node.empty(), "removing a request that is not there");
  Sequence& sequence = *node.mapped();
  if (sequence.deadline) deadlines_.erase({*sequence.deadline, id});
  release_blocks(sequence);
}

Sequence* Scheduler::find(RequestId id) {
  for (Sequences* sequences : {&running_, &waiting_}) {
    if (const auto found = sequences->find(id); found != sequences->end()) {
      return found->second.get();
    }
  }
  return nullptr;
}

std::vector<RequestId> Scheduler::expired(Clock::time_point now) const {
  std::vector<RequestId> ids;
  for (const auto& [deadline, id] : deadlines_) {
    if (deadline > now) break;
    ids.push_back(id);
  }
  return ids;
}

std::span<const Chunk> Scheduler::plan(Clock::time_point now) {
  chunks_.clear();
  budget_ = options_.max_batch_tokens;
  plan_decodes();
  num_decodes_ = chunks_.size();
  num_free_prefill_tokens_ = 0;
  admit_waiting(now);
  last_waiting_id_ = waiting_.empty() ? 0 : waiting_.rbegin()->first;
  plan_prefills();
  if (num_decodes_ == running_.size() && chunks_.size() == num_decodes_) plan_drafts();
  shape_ = step_shape();
  std::sort(chunks_.begin(), chunks_.end(),
            [](const Chunk& a, const Chunk& b) { return a.sequence->id < b.sequence->id; });
  return chunks_;
}

void Scheduler::plan_decodes() {
  // Only sequences behind the iterator are ever preempted, or the one it stands on, as the last.
  for (auto it = running_.begin(); it != running_.end();) {
    Sequence& sequence = *it->second;
    if (!sequence.is_decoding() && !sequence.is_refilling) {
      ++it;
      continue;
    }
    const bool is_youngest = std::next(it) == running_.end();
    if (!pool_.can_allocate(num_missing_blocks(sequence))) {
      if (give_up_successor()) continue;
      preempt_youngest();
      if (is_youngest) return;
      continue;
    }
    if (sequence.is_refilling) take_cached_prefix(sequence);
    fit_blocks(sequence);
    if (sequence.is_decoding()) plan_chunk(sequence, 1);
    ++it;
  }
}

int Scheduler::num_missing_blocks(const Sequence& sequence) const {
  return std::max(0, blocks_for(sequence.num_tokens()) - static_cast<int>(sequence.blocks.size()));
}

// The blocks of its tokens, neither fewer nor, after a draft that was wrong, more.
void Scheduler::fit_blocks(Sequence& sequence) {
  allocate(sequence, num_missing_blocks(sequence));
  const auto wanted = static_cast<size_t>(blocks_for(sequence.num_tokens()));
  for (; sequence.blocks.size() > wanted; sequence.blocks.pop_back()) {
    pool_.release(sequence.blocks.back());
  }
}

void Scheduler::allocate(CachedTokens& cached, int num_blocks) {
  // Room first: no block may be lost when there is no memory.
  cached.blocks.reserve(cached.blocks.size() + static_cast<size_t>(num_blocks));
  for (int i = 0; i < num_blocks; ++i) cached.blocks.push_back(pool_.allocate());
}

// The oldest first. Blocks are taken only where every running sequence can still grow by one.
void Scheduler::plan_drafts() {
  if (num_running() > options_.traits.exact_sequences) return;
  const int most_rows =
      std::min({options_.traits.exact_rows, options_.max_logit_rows, options_.max_batch_tokens});
  int room = most_rows - static_cast<int>(chunks_.size());
  for (Chunk& chunk : chunks_) {
    Sequence& sequence = *chunk.sequence;
    const int num_tokens = sequence.num_tokens();
    const int limit = sequence.shift ? sequence.shift->limit - 1 : max_sequence_tokens();
    int count = std::min({static_cast<int>(sequence.draft.size()), room, limit - num_tokens});
    if (count <= 0 || !chunk.wants_logits) continue;
    const int missing = blocks_for(num_tokens + count) - static_cast<int>(sequence.blocks.size());
    if (missing > 0 && pool_.can_allocate(missing + num_running())) {
      allocate(sequence, missing);
    } else if (missing > 0) {
      count = static_cast<int>(sequence.blocks.size()) * kBlockTokens - num_tokens;
    }
    chunk.num_draft_tokens = count;
    room -= count;
    budget_ -= count;
  }
}

void Scheduler::preempt_youngest() {
  auto node = running_.extract(std::prev(running_.end()));
  Sequence& sequence = *node.mapped();
  release_blocks(sequence);
  ++sequence.num_preemptions;
  ++counters_.num_preemptions;
  waiting_.insert(std::move(node));
}

void Scheduler::admit_waiting(Clock::time_point now) {
  while (!waiting_.empty() && num_running() < options_.max_sequences) {
    Sequence& next = *waiting_.begin()->second;
    if (!try_admit(next)) {
      if (!give_up_successor()) return;
      continue;
    }
    if (!next.started) {
      next.started = now;
      if (next.id <= last_waiting_id_) ++counters_.num_queued_starts;
    }
    running_.insert(waiting_.extract(waiting_.begin()));
  }
}

bool Scheduler::try_admit(Sequence& sequence) {
  const bool was_refused =
      sequence.id == refused_id_ && pool_.num_free() <= refused_num_free_ && !running_.empty();
  if (was_refused) return false;
  const int num_free = pool_.num_free();
  const int num_cached_tokens =
      sequence.may_read_cache ? take_cached_prefix(static_cast<CachedTokens&>(sequence)) : 0;
  const int num_missing = num_missing_blocks(sequence);
  if (!pool_.can_allocate(num_missing + num_running())) {
    release_blocks(sequence);
    refused_id_ = sequence.id;
    refused_num_free_ = num_free;
    return false;
  }
  allocate(sequence, num_missing);
  count_cached(sequence, num_cached_tokens);
  return true;
}

bool Scheduler::is_short_of_blocks() const {
  return !waiting_.empty() && waiting_.begin()->first == refused_id_;
}

// Goes on from where the tokens are computed; a block of its own that has been begun is given back
// for the cached one. Returns how many tokens need not be computed.
int Scheduler::take_cached_prefix(CachedTokens& cached) {
  const int num_computed_before = cached.num_computed;
  const int num_cacheable = num_cacheable_blocks(cached);
  while (cached.num_named_blocks < num_cacheable) {
    const auto index = static_cast<size_t>(cached.num_named_blocks);
    if (index == cached.blocks.size()) cached.blocks.reserve(static_cast<size_t>(num_cacheable));
    const auto found =
        pool_.acquire_cached(cached.last_name, tokens_of_block(cached, cached.num_named_blocks));
    if (!found) break;
    if (index == cached.blocks.size()) {
      cached.blocks.push_back(found->block);
    } else {
      pool_.release(std::exchange(cached.blocks[index], found->block));
    }
    cached.last_name = found->name;
    ++cached.num_named_blocks;
    cached.num_computed = cached.num_named_blocks * kBlockTokens;
  }
  return cached.num_computed - num_computed_before;
}

void Scheduler::take_cached_prefix(Sequence& sequence) {
  if (!sequence.may_read_cache) return;
  count_cached(sequence, take_cached_prefix(static_cast<CachedTokens&>(sequence)));
}

void Scheduler::count_cached(Sequence& sequence, int num_tokens) {
  counters_.num_cached_tokens += static_cast<uint64_t>(num_tokens);
  const bool is_prompt = sequence.num_preemptions == 0 && sequence.num_shifted_tokens == 0;
  if (is_prompt) sequence.num_cached_tokens += num_tokens;
}

void Scheduler::plan_prefills() {
  std::vector<Sequence*> prompts = running_prompts();
  const std::vector<Sequence*> shifting = shifting_sequences();
  if (prompts.empty() && shifting.empty()) return;
  Sequence* oldest = prompts.empty() ? nullptr : prompts.front();
  std::stable_sort(prompts.begin(), prompts.end(), [](const Sequence* a, const Sequence* b) {
    return a->num_remaining() < b->num_remaining();
  });
  if (num_decodes_ > 0) bound_prefills(prompts, oldest, shifting);
  plan_successors(shifting, !prompts.empty());
  if (oldest == nullptr) return;
  const int reserved = std::min((budget_ + 1) / 2, oldest->num_remaining());
  int shared = budget_ - reserved;
  int for_oldest = reserved;
  for (Sequence* sequence : prompts) {
    const bool is_oldest = sequence == oldest;
    const int wanted = sequence->num_remaining() - (is_oldest ? reserved : 0);
    const int given = std::min(wanted, shared);
    shared -= given;
    if (is_oldest) {
      for_oldest += given;
    } else if (given > 0) {
      plan_chunk(*sequence, given);
    }
  }
  if (for_oldest > 0) plan_chunk(*oldest, for_oldest);
}

// Running, with no chunk yet; oldest first.
std::vector<Sequence*> Scheduler::running_prompts() {
  std::vector<Sequence*> prompts;
  size_t next_decode = 0;
  for (const auto& [id, sequence] : running_) {
    if (next_decode < num_decodes_ && chunks_[next_decode].sequence == sequence.get()) {
      ++next_decode;
    } else {
      take_cached_prefix(*sequence);
      prompts.push_back(sequence.get());
    }
  }
  return prompts;
}

// Half of the prefill, but for what a successor takes, will be the oldest's, the other half begins
// with the nearest to its first token, which comes first in `prompts`.
void Scheduler::bound_prefills(std::span<Sequence* const> prompts, const Sequence* oldest,
                               std::span<Sequence* const> shifting) {
  num_free_prefill_tokens_ = num_free_prefill_tokens(prompts);
  StepShape shape = step_shape();
  if (oldest != nullptr) {
    shape.context_per_prefill = 0.5 * (oldest->num_computed + prompts.front()->num_computed);
  }
  if (!shifting.empty() && shifting.front()->successor) {
    const double share = oldest != nullptr ? kSuccessorShare : 1;
    shape.context_per_prefill +=
        share * (shifting.front()->successor->num_computed - shape.context_per_prefill);
  }
  budget_ = std::min(budget_, cost_.prefill_budget(shape, budget_, oldest == nullptr));
}

// The bound is a multiple of the ITL of those who decode. Where these are few and others wait, it
// would let in so little prefill that few join them, and the server would stay at small steps,
// which carry less. So a full server takes the steps it would take if all its prompts that will
// soon be computed decoded already; long prompts have no part in it.
int Scheduler::num_free_prefill_tokens(std::span<Sequence* const> prompts) const {
  const bool is_full = !waiting_.empty() || num_running() == options_.max_sequences;
  if (!is_full) return 0;
  return static_cast<int>(std::count_if(prompts.begin(), prompts.end(), [&](const Sequence* s) {
    return s->num_remaining() <= options_.max_batch_tokens;
  }));
}

StepShape Scheduler::step_shape() const {
  StepShape shape;
  shape.num_free_prefill_tokens = num_free_prefill_tokens_;
  double prefill_context = 0;
  for (size_t i = 0; i < chunks_.size(); ++i) {
    const Chunk& chunk = chunks_[i];
    if (i < num_decodes_) {
      shape.num_decode_rows += chunk.num_tokens + chunk.num_draft_tokens;
      shape.decode_context += chunk.sequence->num_computed;
    } else {
      shape.num_prefill_tokens += chunk.num_tokens;
      prefill_context += static_cast<double>(chunk.num_tokens) * chunk.cached->num_computed;
    }
  }
  shape.context_per_prefill = prefill_context / std::max(shape.num_prefill_tokens, 1);
  return shape;
}

void Scheduler::plan_chunk(Sequence& sequence, int num_tokens) {
  chunks_.push_back(make_chunk(sequence, num_tokens));
  budget_ -= num_tokens;
}

void Scheduler::complete() {
  for (const Chunk& chunk : chunks_) {
    if (!chunk.is_decode) {
      chunk.sequence->num_prefilled_tokens += chunk.num_tokens;
      counters_.num_prefilled_tokens += static_cast<uint64_t>(chunk.num_tokens);
    }
    if (chunk.wants_logits) chunk.sequence->is_refilling = false;
    chunk.cached->num_computed += chunk.num_tokens;
    publish_full_blocks(*chunk.cached);
  }
  chunks_.clear();
}

void Scheduler::publish_full_blocks(CachedTokens& cached) {
  if (!options_.enable_prefix_cache) return;
  while ((cached.num_named_blocks + 1) * kBlockTokens <= cached.num_computed) {
    BlockId& block = cached.blocks[static_cast<size_t>(cached.num_named_blocks)];
    const NamedBlock named =
        pool_.publish(block, cached.last_name, tokens_of_block(cached, cached.num_named_blocks));
    block = named.block;
    cached.last_name = named.name;
    ++cached.num_named_blocks;
  }
}

bool Scheduler::append(Sequence& sequence, text::TokenId token) {
  require_scheduler(sequence.num_remaining() == 0, "appending to a sequence that is not computed");
  require_scheduler(sequence.num_tokens() < max_sequence_tokens(),
                    "appending to a sequence that fills the cache");
  sequence.tokens.push_back(token);
  if (sequence.successor) sequence.successor->tokens.push_back(token);
  const bool is_full = sequence.shift && sequence.num_tokens() >= sequence.shift->limit;
  if (is_full) shift(sequence);
  return is_full;
}

void Scheduler::accept(Sequence& sequence) {
  require_scheduler(sequence.num_remaining() == 1 && num_missing_blocks(sequence) == 0,
                    "accepting a token that was no draft");
  ++sequence.num_computed;
  publish_full_blocks(sequence);
}

void Scheduler::release(CachedTokens& cached) {
  // Last to first, so that the cache forgets the end of a prefix before its start.
  for (; !cached.blocks.empty(); cached.blocks.pop_back()) pool_.release(cached.blocks.back());
  cached.num_computed = 0;
  cached.num_named_blocks = 0;
  cached.last_name = kEmptyPrefix;
}

void Scheduler::release_blocks(Sequence& sequence) {
  release(sequence);
  release_successor(sequence);
  sequence.is_refilling = false;
  sequence.draft.clear();
}

double Scheduler::decode_time(int num_rows) const {
  double context = 0;
  for (const auto& [id, sequence] : running_) context += sequence->num_computed;
  return cost_.decode_time(num_rows, context);
}

void Scheduler::for_each_running(const std::function<void(const Sequence&)>& visit) const {
  for (const auto& [id, sequence] : running_) visit(*sequence);
}

void Scheduler::for_each_waiting(const std::function<void(const Sequence&)>& visit,
                                 size_t most) const {
  for (const auto& [id, sequence] : waiting_) {
    if (most-- == 0) return;
    visit(*sequence);
  }
}

// The blocks of a running sequence are in order; adds to the references of each.
void Scheduler::count_references(const CachedTokens& cached, std::vector<int>& references) const {
  require_scheduler(cached.num_computed <= cached.num_tokens(), "more computed than there is");
  require_scheduler(blocks_for(cached.num_computed) <= static_cast<int>(cached.blocks.size()),
                    "computed tokens without a block");
  for (size_t i = 0; i < cached.blocks.size(); ++i) {
    const BlockId block = cached.blocks[i];
    ++references[static_cast<size_t>(block)];
    const bool is_shared = pool_.num_references(block) > 1;
    require_scheduler(!is_shared || static_cast<int>(i) < cached.num_named_blocks,
                      "a block that is still written is shared");
  }
  require_scheduler(cached.num_named_blocks * kBlockTokens <= cached.num_computed,
                    "a named block is not computed");
}

void Scheduler::check_integrity() const {
  pool_.check_integrity();
  std::vector<int> references(static_cast<size_t>(pool_.num_total()), 0);
  for (const auto& [id, sequence] : running_) {
    require_scheduler(id == sequence->id && !waiting_.contains(id), "a sequence is filed wrongly");
    const bool has_all_blocks = num_missing_blocks(*sequence) == 0;
    require_scheduler(has_all_blocks || sequence->is_decoding() || sequence->is_refilling,
                      "a prompt without blocks");
    count_references(*sequence, references);
    if (sequence->successor) {
      require_scheduler(sequence->shift && sequence->successor->tokens == shifted_tokens(*sequence),
                        "a successor has the wrong tokens");
      count_references(*sequence->successor, references);
    }
  }
  for (const auto& [id, sequence] : waiting_) {
    require_scheduler(sequence->blocks.empty() && sequence->num_computed == 0,
                      "a waiting one holds blocks");
    require_scheduler(!sequence->successor && !sequence->is_refilling, "a waiting one is shifting");
  }
  for (BlockId block = 0; block < pool_.num_total(); ++block) {
    require_scheduler(references[block] == pool_.num_references(block),
                      "references are miscounted");
  }
  require_scheduler(
      running_.empty() || waiting_.empty() || running_.rbegin()->first < waiting_.begin()->first,
      "one was overtaken");
}

}  // namespace sluice::engine
