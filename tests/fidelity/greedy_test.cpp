// Greedy replies of a real model to twenty prompts, through the whole engine. The committed ones
// were made with the float32 reference backend; the fast backend must give the same, token by
// token. Steps of four tokens keep it on the kernels that round activations to 16 bits.
// SLUICE_WRITE_GOLDENS=1 writes the file anew.
#include <gtest/gtest.h>

#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/threads.h"
#include "engine/engine.h"
#include "fidelity/test_models.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace sluice {
namespace {

constexpr const char* kPrompts[] = {
    "Why is the sky blue?",
    "Write a haiku about the sea.",
    "What is the capital of Japan?",
    "Explain recursion to a child.",
    "List three uses of a paperclip.",
    "Translate 'good morning' into French.",
    "Who wrote Pride and Prejudice?",
    "How do I boil an egg?",
    "What is 17 plus 25?",
    "Name the planets of the solar system.",
    "Write a Python function that reverses a string.",
    "What causes the tides?",
    "Give me a title for a story about a lost dog.",
    "Summarize: The quick brown fox jumps over the lazy dog.",
    "What does HTTP stand for?",
    "Tell a joke about computers.",
    "Describe the taste of a lemon.",
    "How many days are in a leap year?",
    "What is the opposite of 'cold'?",
    "Write one sentence about winter.",
};
constexpr char kModel[] = "smollm2-135m-q4_1.gguf";
constexpr int kReplyTokens = 32;

std::string golden_path() {
  return std::string(SLUICE_TEST_DATA) + "/fidelity/golden/smollm2_greedy.txt";
}

// One reply a line, token ids apart by spaces.
using Replies = std::vector<std::vector<text::TokenId>>;

Replies read_goldens() {
  std::ifstream file(golden_path());
  Replies replies;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    auto& reply = replies.emplace_back();
    for (text::TokenId id = 0; words >> id;) reply.push_back(id);
  }
  return replies;
}

void write_goldens(const Replies& replies) {
  std::ofstream file(golden_path());
  for (const auto& reply : replies) {
    for (size_t i = 0; i < reply.size(); ++i) file << (i > 0 ? " " : "") << reply[i];
    file << '\n';
  }
}

class GreedyReplies : public testing::Test {
 protected:
  void SetUp() override {
    path_ = find_test_model(kModel);
    if (path_.empty()) GTEST_SKIP() << missing_model_text(kModel);
  }

  // One prompt after the other.
  Replies run(std::unique_ptr<backend::Backend> backend, int step_tokens) {
    backend::LoadOptions load;
    load.max_batch_tokens = step_tokens;
    model::Model model(path_, std::move(backend), load);
    engine::EngineOptions options;
    options.vocab_size = model.spec().vocab_size;
    options.num_blocks = 256;
    options.max_batch_tokens = step_tokens;
    options.max_sequences = std::min(step_tokens, 32);
    options.enable_prefix_cache = false;
    model.backend().allocate_cache(options.num_blocks);
    const auto tokenizer = text::Tokenizer::from_gguf(model.file());
    engine::Engine engine([&](const backend::Batch& b) { return model.backend().forward(b); },
                          *tokenizer, options);
    Replies replies(std::size(kPrompts));
    size_t num_done = 0;
    for (size_t i = 0; i < replies.size(); ++i) {
      engine::Request request;
      request.prompt = tokenizer->encode(std::string("<|im_start|>user\n") + kPrompts[i] +
                                         "<|im_end|>\n<|im_start|>assistant\n");
      request.sampling.temperature = 0;
      request.max_tokens = kReplyTokens;
      request.on_event = [&, i](const engine::Event& event) {
        std::lock_guard lock(mutex_);
        for (const engine::OutputToken& token : event.tokens) replies[i].push_back(token.token);
        num_done += event.is_final;
        changed_.notify_all();
      };
      engine.submit(std::move(request));
      wait_until_done(num_done, i + 1);
    }
    return replies;
  }

  void wait_until_done(const size_t& num_done, size_t wanted) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return num_done >= wanted; });
  }

  std::string path_;
  std::mutex mutex_;
  std::condition_variable changed_;
};

TEST_F(GreedyReplies, AreTheCommittedOnes) {
  if (std::getenv("SLUICE_WRITE_GOLDENS") != nullptr) {
    write_goldens(run(backend::make_reference_backend(usable_cores()), 64));
  }
  const Replies golden = read_goldens();
  ASSERT_EQ(golden.size(), std::size(kPrompts));
  const Replies replies = run(backend::make_cpu_backend({}), 4);
  for (size_t i = 0; i < golden.size(); ++i) EXPECT_EQ(replies[i], golden[i]) << kPrompts[i];
}

TEST_F(GreedyReplies, StayTheSameFromRunToRun) {
  EXPECT_EQ(run(backend::make_cpu_backend({}), 512), run(backend::make_cpu_backend({}), 512));
}

}  // namespace
}  // namespace sluice
