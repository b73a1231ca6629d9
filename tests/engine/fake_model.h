#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <vector>

#include "backend/backend.h"
#include "fake_backend.h"

namespace sluice::engine {

// Stands in for a model and finds paging mistakes. Like real keys and values, what it stores for a
// token depends on all tokens before it; like attention, every row of logits reads the whole block
// table. So one wrong, lost or overwritten slot anywhere changes the reply.
//
// With a `copy_distance` it likes to repeat what stands so many tokens back, 15 times in 16. Its
// hidden states, [kStateSize], are random values that depend on all tokens up to theirs.
class FakeModel {
 public:
  static constexpr int kStateSize = 4;

  FakeModel(int num_blocks, int vocab_size, int copy_distance = 0)
      : slots_(static_cast<size_t>(num_blocks) * backend::kBlockTokens),
        tokens_(slots_.size()),
        vocab_size_(vocab_size),
        copy_distance_(copy_distance) {}

  static uint64_t mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
    return hash ^ (hash >> 32);
  }

  // What a slot must hold for the last of these tokens.
  static uint64_t state_after(std::span<const int32_t> tokens) {
    uint64_t state = 1;
    for (const int32_t token : tokens) state = mix(state, static_cast<uint64_t>(token));
    return state;
  }

  // The hidden state behind these tokens.
  static std::vector<float> hidden_state(std::span<const int32_t> tokens) {
    std::vector<float> result;
    append_hidden_state(state_after(tokens), result);
    return result;
  }

  ForwardOutput forward(const backend::Batch& batch) {
    logits_.clear();
    states_.clear();
    size_t next_row = 0;
    size_t next_state = 0;
    for (const backend::BatchSequence& sequence : batch.sequences) {
      for (int i = 0; i < sequence.num_tokens; ++i) {
        const int position = sequence.num_cached + i;
        const uint64_t before = position == 0 ? 1 : slot(sequence, position - 1);
        const int32_t token = batch.tokens.at(static_cast<size_t>(sequence.first_token + i));
        slot(sequence, position) = mix(before, static_cast<uint64_t>(token));
        tokens_[index_of(sequence, position)] = token;
        if (next_row < batch.logit_rows.size() &&
            batch.logit_rows[next_row] == sequence.first_token + i) {
          append_logits(sequence, position);
          ++next_row;
        }
        if (next_state < batch.embedding_rows.size() &&
            batch.embedding_rows[next_state] == sequence.first_token + i) {
          append_hidden_state(slot(sequence, position), states_);
          ++next_state;
        }
      }
    }
    if (next_row != batch.logit_rows.size() || next_state != batch.embedding_rows.size()) {
      throw std::logic_error("a row of no sequence");
    }
    return {logits_, states_};
  }

  // Throws unless every position's slot holds what these tokens give.
  void check(std::span<const int32_t> block_table, std::span<const int32_t> tokens) const {
    uint64_t state = 1;
    for (size_t i = 0; i < tokens.size(); ++i) {
      state = mix(state, static_cast<uint64_t>(tokens[i]));
      const size_t block = static_cast<size_t>(block_table[i / backend::kBlockTokens]);
      if (slots_.at(block * backend::kBlockTokens + i % backend::kBlockTokens) != state) {
        throw std::logic_error("a slot holds the wrong token");
      }
    }
  }

 private:
  size_t index_of(const backend::BatchSequence& sequence, int position) const {
    const size_t index = static_cast<size_t>(position);
    if (index / backend::kBlockTokens >= sequence.block_table.size()) {
      throw std::logic_error("the block table is too short");
    }
    const size_t block = static_cast<size_t>(sequence.block_table[index / backend::kBlockTokens]);
    return block * backend::kBlockTokens + index % backend::kBlockTokens;
  }

  uint64_t& slot(const backend::BatchSequence& sequence, int position) {
    return slots_.at(index_of(sequence, position));
  }

  static void append_hidden_state(uint64_t state, std::vector<float>& states) {
    for (uint64_t i = 0; i < kStateSize; ++i) {
      states.push_back(static_cast<float>(mix(state, i) >> 40) * 0x1p-23f - 1.0f);  // -1 to 1
    }
  }

  void append_logits(const backend::BatchSequence& sequence, int position) {
    uint64_t attention = 7;
    for (int p = 0; p <= position; ++p) attention = mix(attention, slot(sequence, p));
    for (int id = 0; id < vocab_size_; ++id) {
      const uint64_t bits = mix(attention, static_cast<uint64_t>(id)) >> 40;
      logits_.push_back(static_cast<float>(bits) * 0x1p-22f);  // 0 to 4
    }
    const int from = position + 1 - copy_distance_;
    if (copy_distance_ > 0 && from >= 0 && attention % 16 != 0) {
      const auto token = static_cast<size_t>(tokens_[index_of(sequence, from)]);
      logits_[logits_.size() - static_cast<size_t>(vocab_size_) + token] += 6.0f;
    }
  }

  std::vector<uint64_t> slots_;
  std::vector<int32_t> tokens_;
  int vocab_size_;
  int copy_distance_;
  std::vector<float> logits_;
  std::vector<float> states_;
};

}  // namespace sluice::engine
