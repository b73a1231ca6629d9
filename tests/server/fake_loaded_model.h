#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "engine/fake_backend.h"
#include "server/catalog.h"
#include "server/loaded_model.h"
#include "text/tokenizer_vocabularies.h"

namespace sluice::test {

// What a fake model does while it loads and runs.
struct FakeBehaviour {
  std::atomic<int> num_loads = 0;
  std::atomic<int> num_alive = 0;
  std::atomic<bool> load_fails = false;
  std::atomic<int> load_ms = 0;
  std::atomic<int> step_ms = 0;
  std::atomic<bool> is_held = false;  // a step does not end before this is false
  std::atomic<int> max_sequences = 64;
  std::atomic<size_t> memory_bytes = 0;
  std::atomic<bool> is_load_held = false;
};

// Its vocabulary: a token b is the byte b, and one more ends a reply.
inline constexpr text::TokenId kFakeEnd = text::testing::kEndOfBytes;
inline constexpr size_t kFakeVocabSize = kFakeEnd + 1;

inline std::unique_ptr<text::Tokenizer> fake_tokenizer() {
  return text::testing::load(text::testing::bytes_and_end());
}

inline server::SharedRecord fake_record(const std::string& name) {
  return std::make_shared<const server::CatalogRecord>(
      server::CatalogRecord{store::ModelRecord{.name = store::ModelName::parse(name),
                                               .digest = store::sha256(name),
                                               .manifest = {},
                                               .size_bytes = 1000,
                                               .modified = {},
                                               .model_path = "/" + name,
                                               .config = {},
                                               .texts = {}},
                            {}});
}

// The hidden state of a token is (its id, 1). Says "ABCDEFGHIJ", one letter a step by the position
// in the cache, and then ends: after 'J' the control token. Counts itself while it lives.
class FakeLoadedModel {
 public:
  static std::unique_ptr<server::LoadedModel> make(FakeBehaviour& behaviour, int max_queue = 512) {
    ++behaviour.num_loads;
    std::this_thread::sleep_for(std::chrono::milliseconds(behaviour.load_ms));
    while (behaviour.is_load_held) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (behaviour.load_fails) {
      throw Error(ErrorCode::kCorruptData, "broken model file: tensor x is missing");
    }
    auto loaded = std::make_unique<server::LoadedModel>();
    loaded->tokenizer = fake_tokenizer();
    loaded->grammars = std::make_unique<grammar::Compiler>(*loaded->tokenizer);
    loaded->context_length = 4096;
    loaded->backend_description = "fake";
    loaded->memory.weights = behaviour.memory_bytes;
    engine::EngineOptions options;
    options.vocab_size = kFakeVocabSize;
    options.context_length = 4096;
    options.num_blocks = 1024;
    options.max_queue = max_queue;
    options.embedding_length = 2;
    options.max_sequences = behaviour.max_sequences;
    ++behaviour.num_alive;
    auto alive = std::shared_ptr<void>(nullptr, [&behaviour](void*) { --behaviour.num_alive; });
    auto backend = std::make_unique<engine::FakeBackend>(
        [&behaviour, alive, logits = std::make_shared<std::vector<float>>(),
         states = std::make_shared<std::vector<float>>()](const backend::Batch& batch) {
          std::this_thread::sleep_for(std::chrono::milliseconds(behaviour.step_ms));
          while (behaviour.is_held) std::this_thread::sleep_for(std::chrono::milliseconds(1));
          states->clear();
          for (const int32_t row : batch.embedding_rows) {
            states->push_back(static_cast<float>(batch.tokens[static_cast<size_t>(row)]));
            states->push_back(1.0f);
          }
          logits->assign(batch.logit_rows.size() * kFakeVocabSize, 0.0f);
          for (size_t row = 0; row < batch.logit_rows.size(); ++row) {
            const auto last = static_cast<size_t>(batch.logit_rows[row]);
            const auto token = static_cast<size_t>(next(batch.tokens[last]));
            (*logits)[row * kFakeVocabSize + token] = 100.0f;
          }
          return engine::ForwardOutput{*logits, *states};
        });
    loaded->engine = std::make_unique<engine::Engine>(*backend, *loaded->tokenizer, options);
    loaded->own_backend = std::move(backend);
    return loaded;
  }

 private:
  // 'A' after anything but a letter from A to I, of which the next one follows.
  static text::TokenId next(text::TokenId last) {
    if (last == 'J') return kFakeEnd;
    return last >= 'A' && last < 'J' ? last + 1 : 'A';
  }
};

}  // namespace sluice::test
