// Greedy replies of a real model to twenty prompts, through the whole engine. The committed ones
// were made with the float32 reference backend; the fast backend must give the same, token by
// token, up to where the reference itself finds two tokens as good as equal. For that it computes
// prompts as it does replies, in steps of four tokens, whose activations it rounds to 16 bits.
// SLUICE_WRITE_GOLDENS=1 writes the file anew.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/threads.h"
#include "engine/engine.h"
#include "engine/fake_backend.h"
#include "fidelity/test_models.h"
#include "model/load.h"
#include "test_data.h"
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
constexpr double kTie = 0.01;  // 1% in probability

std::string golden_path() { return test_data("fidelity/golden/smollm2_greedy.txt"); }

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

// How a prompt is computed: as the backend computes prompts, or as it does replies.
enum class PromptForm { kOwn, kAsReply };

class GreedyReplies : public testing::Test {
 protected:
  void SetUp() override {
    path_ = find_test_model(kModel);
    if (path_.empty()) GTEST_SKIP() << missing_model_text(kModel);
  }

  // One prompt after the other, in steps of `step_tokens`.
  Replies run(std::unique_ptr<backend::Backend> backend, int step_tokens, PromptForm form) {
    Replies replies;
    with_engine(std::move(backend), step_tokens, form,
                [&](engine::Engine& engine, const auto& encode) {
                  for (const char* prompt : kPrompts) {
                    auto& tokens = replies.emplace_back();
                    for (const auto& one : answer(engine, encode(prompt), kReplyTokens, -1)) {
                      tokens.push_back(one.token);
                    }
                  }
                });
    return replies;
  }

  // How much likelier the reference backend finds `a` than `b` behind a prompt and what both
  // replies begin with: natural logarithm, without sign; infinite when one is not among its best.
  double reference_gap(const char* prompt, std::span<const text::TokenId> common, text::TokenId a,
                       text::TokenId b) {
    double gap = std::numeric_limits<double>::infinity();
    with_engine(backend::make_reference_backend(usable_cores()), 64, PromptForm::kOwn,
                [&](engine::Engine& engine, const auto& encode) {
                  std::vector<text::TokenId> tokens = encode(prompt);
                  tokens.insert(tokens.end(), common.begin(), common.end());
                  const auto reply = answer(engine, std::move(tokens), 1, 5);
                  std::map<text::TokenId, double> best;
                  for (const engine::Logprob& one : reply.at(0).top) best[one.token] = one.logprob;
                  if (best.contains(a) && best.contains(b)) gap = std::abs(best[a] - best[b]);
                });
    return gap;
  }

  template <typename Use>
  void with_engine(std::unique_ptr<backend::Backend> backend, int step_tokens, PromptForm form,
                   const Use& use) {
    backend::LoadOptions load;
    load.max_batch_tokens = step_tokens;
    model::Model model = model::load_on(std::move(backend), path_, load);
    engine::EngineOptions options;
    options.vocab_size = model.spec().vocab_size;
    options.num_blocks = 256;
    options.max_batch_tokens = step_tokens;
    options.max_sequences = std::min(step_tokens, 32);
    model.backend().allocate_cache(options.num_blocks);
    const auto tokenizer = text::Tokenizer::from_gguf(model.file());
    engine::FakeBackend as_reply([&](const backend::Batch& batch) {
      backend::Batch changed = batch;
      changed.samplings.clear();
      for (backend::BatchSequence& sequence : changed.sequences) sequence.is_prompt = false;
      const backend::StepResult result = model.backend().forward(changed);
      return engine::ForwardOutput{result.logits, result.embeddings};
    });
    backend::Backend& own = model.backend();
    engine::Engine engine(form == PromptForm::kOwn ? own : as_reply, *tokenizer, options);
    use(engine, [&](const std::string& prompt) {
      return tokenizer->encode("<|im_start|>user\n" + prompt +
                               "<|im_end|>\n<|im_start|>assistant\n");
    });
  }

  std::vector<engine::OutputToken> answer(engine::Engine& engine, std::vector<text::TokenId> prompt,
                                          int max_tokens, int num_top_logprobs) {
    std::vector<engine::OutputToken> tokens;
    size_t num_done = 0;
    engine::Request request;
    request.prompt = std::move(prompt);
    request.sampling.temperature = 0;
    request.max_tokens = max_tokens;
    request.num_top_logprobs = num_top_logprobs;
    request.on_event = [&](const engine::Event& event) {
      std::lock_guard lock(mutex_);
      tokens.insert(tokens.end(), event.tokens.begin(), event.tokens.end());
      num_done += event.is_final;
      if (event.is_final) num_cached_tokens_ = event.num_cached_tokens;
      changed_.notify_all();
    };
    engine.submit(std::move(request));
    wait_until_done(num_done, 1);
    return tokens;
  }

  void wait_until_done(const size_t& num_done, size_t wanted) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return num_done >= wanted; });
  }

  std::string path_;
  int num_cached_tokens_ = 0;  // of the last answer's prompt
  std::mutex mutex_;
  std::condition_variable changed_;
};

TEST_F(GreedyReplies, AreTheCommittedOnes) {
  if (std::getenv("SLUICE_WRITE_GOLDENS") != nullptr) {
    write_goldens(run(backend::make_reference_backend(usable_cores()), 64, PromptForm::kOwn));
  }
  const Replies golden = read_goldens();
  ASSERT_EQ(golden.size(), std::size(kPrompts));
  const Replies replies = run(backend::make_cpu_backend({}), 4, PromptForm::kAsReply);
  for (size_t i = 0; i < golden.size(); ++i) {
    const auto [mine, theirs] =
        std::mismatch(replies[i].begin(), replies[i].end(), golden[i].begin(), golden[i].end());
    if (mine == replies[i].end() && theirs == golden[i].end()) continue;
    ASSERT_TRUE(mine != replies[i].end() && theirs != golden[i].end()) << kPrompts[i];
    // Another word is right only where the reference itself hardly prefers one.
    const std::span common(golden[i].begin(), theirs);
    EXPECT_LT(reference_gap(kPrompts[i], common, *mine, *theirs), kTie)
        << kPrompts[i] << " at token " << common.size() << ": " << *mine << ", not " << *theirs;
  }
}

TEST_F(GreedyReplies, StayTheSameFromRunToRun) {
  const auto run_once = [&] { return run(backend::make_cpu_backend({}), 512, PromptForm::kOwn); };
  EXPECT_EQ(run_once(), run_once());
}

// The second time all but a prompt's last blocks come from the cache: a chunk of a few tokens is
// left of it, and must give to the bit what the whole prompt gave.
TEST_F(GreedyReplies, DoNotDependOnThePrefixCache) {
  with_engine(backend::make_cpu_backend({}), 512, PromptForm::kOwn,
              [&](engine::Engine& engine, const auto& encode) {
                for (const std::string prompt : kPrompts) {
                  const auto tokens = encode(prompt + " Answer as a patient teacher would.");
                  const auto first = answer(engine, tokens, kReplyTokens, 0);
                  EXPECT_EQ(num_cached_tokens_, 0);
                  const auto second = answer(engine, tokens, kReplyTokens, 0);
                  EXPECT_GE(num_cached_tokens_, backend::kBlockTokens);
                  ASSERT_EQ(first.size(), second.size()) << prompt;
                  for (size_t i = 0; i < first.size(); ++i) {
                    EXPECT_EQ(first[i].token, second[i].token) << prompt << " at token " << i;
                    EXPECT_EQ(first[i].logprob, second[i].logprob) << prompt << " at token " << i;
                  }
                }
              });
}

}  // namespace
}  // namespace sluice
