#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "collector.h"
#include "engine/engine.h"
#include "fake_backend.h"
#include "text/tokenizer_vocabularies.h"
#include "thrown.h"

// What the tests of the engine share.
namespace sluice::engine {

using test::code_of;

// A token b is the byte b, and one more ends a reply.
inline constexpr text::TokenId kEndToken = text::testing::kEndOfBytes;
inline constexpr int kVocabSize = kEndToken + 1;

inline const text::Tokenizer& tokenizer() {
  static const std::unique_ptr<text::Tokenizer> tokenizer =
      text::testing::load(text::testing::bytes_and_end());
  return *tokenizer;
}

inline std::vector<text::TokenId> bytes_as_tokens(std::string_view bytes) {
  std::vector<text::TokenId> ids;
  for (const char byte : bytes) ids.push_back(static_cast<unsigned char>(byte));
  return ids;
}

inline EngineOptions options(int num_blocks = 64) {
  EngineOptions options;
  options.vocab_size = kVocabSize;
  options.num_blocks = num_blocks;
  options.max_batch_tokens = 64;
  options.max_sequences = 16;
  return options;
}

// An engine on a device whose forward pass is a function.
class TestEngine : private FakeBackend, public Engine {
 public:
  TestEngine(Forward forward, const text::Tokenizer& tokenizer, const EngineOptions& options)
      : FakeBackend(std::move(forward)),
        Engine(static_cast<FakeBackend&>(*this), tokenizer, options) {}
  using Engine::submit;
};

// Wants the next token of a script behind a prompt of `prompt_size` tokens, whoever asks; the last
// one again and again.
inline Forward scripted(std::vector<text::TokenId> script, int prompt_size = 1) {
  auto logits = std::make_shared<std::vector<float>>();
  return [=](const backend::Batch& batch) {
    logits->assign(batch.logit_rows.size() * kVocabSize, 0.0f);
    size_t row = 0;
    for (const backend::BatchSequence& sequence : batch.sequences) {
      const int last = sequence.first_token + sequence.num_tokens - 1;
      if (row == batch.logit_rows.size() || batch.logit_rows[row] != last) continue;
      const int index = sequence.num_cached + sequence.num_tokens - prompt_size;
      const size_t step = std::min(script.size() - 1, static_cast<size_t>(std::max(index, 0)));
      (*logits)[row++ * kVocabSize + static_cast<size_t>(script[step])] = 5.0f;
    }
    return ForwardOutput{*logits, {}};
  };
}

inline Forward scripted_text(std::string_view text) {
  std::vector<text::TokenId> script = bytes_as_tokens(text);
  script.push_back(kEndToken);
  return scripted(script);
}

// A step takes a millisecond more: a reply does not end before a test gets to it.
inline Forward slowed(Forward forward) {
  return [forward = std::move(forward)](const backend::Batch& batch) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return forward(batch);
  };
}

inline Request greedy_request(Collector& collector, std::vector<text::TokenId> prompt = {65}) {
  Request request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.on_event = collector.callback();
  return request;
}

// Lets a test hold the engine inside a step.
class Gate {
 public:
  Forward guard(Forward forward) {
    return [this, forward = std::move(forward)](const backend::Batch& batch) {
      entered_ = true;
      entered_.notify_all();
      opened_.wait(false);
      return forward(batch);
    };
  }
  void wait_until_entered() const { entered_.wait(false); }
  void open() {
    opened_ = true;
    opened_.notify_all();
  }

 private:
  std::atomic<bool> entered_ = false;
  std::atomic<bool> opened_ = false;
};

template <typename Condition>
void wait_for(Condition condition) {
  const auto give_up = Clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    ASSERT_LT(Clock::now(), give_up);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace sluice::engine
