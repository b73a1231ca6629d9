#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "engine/block_pool.h"
#include "engine/request.h"
#include "text/tokenizer.h"

// What the scheduler works on: sequences, and their parts of a step.
namespace sluice::engine {

// Blocks that hold so many tokens.
inline int blocks_for(int num_tokens) {
  return static_cast<int>(backend::blocks_for_tokens(num_tokens));
}

// Tokens from position 0 on, and where the keys and values of the first of them are.
struct CachedTokens {
  std::vector<text::TokenId> tokens;
  int num_computed = 0;         // tokens whose keys and values are in `blocks`
  std::vector<BlockId> blocks;  // the block table
  int num_named_blocks = 0;     // the first of `blocks`, known to the prefix cache
  PrefixName last_name = kEmptyPrefix;

  int num_tokens() const { return static_cast<int>(tokens.size()); }
  int num_remaining() const { return num_tokens() - num_computed; }
};

// What is to happen when a context is full: of `limit` tokens, `num_tokens` behind the first
// `num_keep` are forgotten.
struct ContextShift {
  int limit = 0;
  int num_keep = 0;
  int num_tokens = 0;

  // Of the first `count` tokens before it, those left.
  int num_left_of(int count) const {
    return std::min(count, num_keep) + std::max(0, count - num_keep - num_tokens);
  }
};

// One request as the scheduler sees it: its tokens (prompt, then reply) and where they are cached.
// No text, no sampling. Its blocks cover all of its tokens once a step is planned.
struct Sequence : CachedTokens {
  RequestId id = 0;
  int num_prompt_tokens = 0;
  std::optional<Clock::time_point> deadline;
  std::optional<Pooling> pooling;     // an embedding: hidden states are wanted instead of logits
  bool may_read_cache = true;         // false: every hidden state is wanted, so all is computed
  std::optional<ContextShift> shift;  // none: the context never gets full
  std::vector<text::TokenId> draft;   // guesses of what follows `tokens`, set before plan()

  // The tokens as the shift will leave them, computed beside those of now. Grows with them.
  std::unique_ptr<CachedTokens> successor;
  // Shifted with no complete successor: what is left of its tokens is computed again.
  bool is_refilling = false;

  int num_cached_tokens = 0;     // of the prompt, taken from the prefix cache before any preemption
  int num_prefilled_tokens = 0;  // computed in chunks, its successors' and again counted in
  int num_preemptions = 0;
  int num_shifted_tokens = 0;                // taken out of `tokens`
  int num_leading_prompt_tokens = 0;         // of `tokens`: the prompt but for what was shifted
  std::optional<Clock::time_point> started;  // the first step that worked on it

  int num_output_tokens() const { return num_tokens() + num_shifted_tokens - num_prompt_tokens; }
  bool is_decoding() const { return num_remaining() == 1; }
};

// The tokens as Sequence::shift will leave them; all that it takes out are there.
std::vector<text::TokenId> shifted_tokens(const Sequence& sequence);

// One sequence's part of a step: its next `num_tokens` tokens that are not computed yet, and behind
// them the first `num_draft_tokens` of its draft. Or its successor's part.
struct Chunk {
  Sequence* sequence = nullptr;
  CachedTokens* cached = nullptr;  // the sequence itself or its successor
  int num_tokens = 0;
  bool is_decode = false;     // one token, the latest of the reply
  bool is_prompt = false;     // as backend::BatchSequence has it
  bool wants_logits = false;  // the last token is among them: the next one can be sampled
  int num_draft_tokens = 0;   // only of a decoding sequence; each gives a row of logits, too
  // The hidden states wanted for an embedding, of `num_tokens`.
  int first_state = 0;
  int num_states = 0;

  bool is_successor() const { return cached != sequence; }
};

// The next `num_tokens` tokens of a sequence.
Chunk make_chunk(Sequence& sequence, int num_tokens);

// Writes the chunks as the backend wants them. The block tables point into the sequences.
void make_batch(std::span<const Chunk> chunks, backend::Batch& batch);

}  // namespace sluice::engine
