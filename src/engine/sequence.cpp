#include "engine/sequence.h"

#include <tuple>
#include <utility>

namespace sluice::engine {
namespace {

// Which hidden states of its next `num_tokens` tokens a sequence wants: the first and how many.
std::pair<int, int> wanted_states(const Sequence& sequence, int num_tokens) {
  if (!sequence.pooling) return {0, 0};
  switch (*sequence.pooling) {
    case Pooling::kMean:
      return {0, num_tokens};
    case Pooling::kFirst:
      return {0, sequence.num_computed == 0 ? 1 : 0};
    case Pooling::kLast:
      break;
  }
  return {num_tokens - 1, num_tokens == sequence.num_remaining() ? 1 : 0};
}

}  // namespace

std::vector<text::TokenId> shifted_tokens(const Sequence& sequence) {
  const ContextShift& shift = *sequence.shift;
  std::vector<text::TokenId> tokens;
  tokens.reserve(static_cast<size_t>(shift.limit));
  const auto begin = sequence.tokens.begin();
  tokens.assign(begin, begin + shift.num_keep);
  tokens.insert(tokens.end(), begin + shift.num_keep + shift.num_tokens, sequence.tokens.end());
  return tokens;
}

Chunk make_chunk(Sequence& sequence, int num_tokens) {
  const bool is_complete = num_tokens == sequence.num_remaining();
  Chunk chunk;
  chunk.sequence = &sequence;
  chunk.cached = &sequence;
  chunk.num_tokens = num_tokens;
  chunk.is_decode = is_complete && num_tokens == 1 && sequence.num_output_tokens() > 0;
  chunk.is_prompt = !chunk.is_decode;
  chunk.wants_logits = is_complete && !sequence.pooling;
  std::tie(chunk.first_state, chunk.num_states) = wanted_states(sequence, num_tokens);
  return chunk;
}

void make_batch(std::span<const Chunk> chunks, backend::Batch& batch) {
  batch.clear();
  for (const Chunk& chunk : chunks) {
    const CachedTokens& cached = *chunk.cached;
    const int first_token = static_cast<int>(batch.tokens.size());
    const auto tokens = std::span(cached.tokens).subspan(cached.num_computed, chunk.num_tokens);
    batch.tokens.insert(batch.tokens.end(), tokens.begin(), tokens.end());
    const auto draft = std::span(chunk.sequence->draft).first(chunk.num_draft_tokens);
    batch.tokens.insert(batch.tokens.end(), draft.begin(), draft.end());
    const int end_token = static_cast<int>(batch.tokens.size());
    batch.sequences.push_back({first_token, end_token - first_token, cached.num_computed,
                               cached.blocks, chunk.is_prompt});
    if (chunk.wants_logits) {
      const int first_row = first_token + chunk.num_tokens - 1;
      for (int row = first_row; row < end_token; ++row) batch.logit_rows.push_back(row);
    }
    const int first_state = first_token + chunk.first_state;
    for (int i = 0; i < chunk.num_states; ++i) batch.embedding_rows.push_back(first_state + i);
  }
}

}  // namespace sluice::engine
