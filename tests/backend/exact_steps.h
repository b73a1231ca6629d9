#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "backend/tiny_model.h"

// What the tests of a device's exactness share (Traits: exact_rows).
namespace sluice::backend {

// One sequence over all blocks of the cache but the last ones, which a second one has.
struct Sequences {
  std::vector<int32_t> tokens[2], tables[2];

  explicit Sequences(int vocab) {
    std::mt19937 random(5);
    for (auto& sequence : tokens) {
      for (int i = 0; i < kNumBlocks * kBlockTokens; ++i) {
        sequence.push_back(static_cast<int32_t>(random() % static_cast<unsigned>(vocab)));
      }
    }
    std::vector<int32_t> blocks(kNumBlocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random);
    tables[0].assign(blocks.begin(), blocks.end() - 4);
    tables[1].assign(blocks.end() - 4, blocks.end());
  }

  void add(Batch& batch, size_t which, int first, int count) const {
    const int at = static_cast<int>(batch.tokens.size());
    for (int i = 0; i < count; ++i) {
      batch.tokens.push_back(tokens[which][static_cast<size_t>(first + i)]);
      batch.logit_rows.push_back(at + i);
    }
    batch.sequences.push_back({at, count, first, tables[which]});
  }
};

inline std::vector<float> logits_of(Backend& backend, const Batch& batch) {
  const std::span<const float> logits = backend.forward(batch).logits;
  return {logits.begin(), logits.end()};
}

// The logits of `most_rows` tokens from `first` on, one a step, after a prompt up to there.
inline std::vector<float> single_steps(Backend& backend, int most_rows, const Sequences& sequences,
                                       int first) {
  Batch prompt;
  sequences.add(prompt, 0, 0, first);
  prompt.logit_rows.clear();
  backend.forward(prompt);
  std::vector<float> all;
  for (int i = 0; i < most_rows; ++i) {
    Batch step;
    sequences.add(step, 0, first + i, 1);
    const std::vector<float> logits = logits_of(backend, step);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

// `counts` tokens in one step, alone and beside another sequence, against single steps.
inline void expect_chunks_equal_single_steps(Backend& backend, int most_rows, int vocab, int first,
                                             const std::vector<int>& counts) {
  const Sequences sequences(vocab);
  const std::vector<float> expected = single_steps(backend, most_rows, sequences, first);
  for (const int count : counts) {
    SCOPED_TRACE(std::to_string(count) + " tokens after " + std::to_string(first));
    Batch alone;
    sequences.add(alone, 0, first, count);
    const std::vector<float> got = logits_of(backend, alone);
    EXPECT_TRUE(std::equal(got.begin(), got.end(), expected.begin()));
    if (count == most_rows) continue;
    Batch mixed;  // beside another sequence
    sequences.add(mixed, 0, first, count);
    sequences.add(mixed, 1, 0, most_rows - count);
    EXPECT_TRUE(std::equal(got.begin(), got.end(), logits_of(backend, mixed).begin()));
  }
}

// The last logits of a prompt that is computed in chunks of these sizes.
inline std::vector<float> prompt_logits(Backend& backend, const Sequences& sequences,
                                        const std::vector<int>& chunks) {
  std::vector<float> logits;
  int done = 0;
  for (const int count : chunks) {
    Batch batch;
    sequences.add(batch, 0, done, count);
    batch.logit_rows.assign(1, count - 1);
    batch.sequences[0].is_prompt = true;
    logits = logits_of(backend, batch);
    done += count;
  }
  return logits;
}

}  // namespace sluice::backend
