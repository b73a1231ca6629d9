// The whole model against float32 PyTorch `transformers` on the same weights: golden logits made by
// make_logit_goldens.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/threads.h"
#include "fidelity/test_models.h"
#include "model/load.h"
#include "test_data.h"

namespace sluice {
namespace {

struct GoldenRow {
  int position = 0;
  std::vector<std::pair<size_t, float>> logits;  // token id, value
};

struct GoldenPrompt {
  std::vector<int32_t> tokens;
  std::vector<GoldenRow> rows;
};

std::vector<GoldenPrompt> read_goldens(const std::string& name) {
  std::ifstream file(test_data("fidelity/golden/") + name);
  std::vector<GoldenPrompt> prompts;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string kind;
    words >> kind;
    if (kind == "prompt") {
      GoldenPrompt& prompt = prompts.emplace_back();
      for (int32_t id; words >> id;) prompt.tokens.push_back(id);
    } else {
      GoldenRow& row = prompts.back().rows.emplace_back();
      words >> row.position;
      size_t id = 0;
      char colon = 0;
      for (float value; words >> id >> colon >> value;) row.logits.emplace_back(id, value);
    }
  }
  return prompts;
}

// Runs the prompt in steps of `step_tokens` and returns the logits of every position.
std::vector<std::vector<float>> all_logits(model::Model& model, const std::vector<int32_t>& tokens,
                                           int step_tokens) {
  std::vector<int32_t> blocks(64);
  std::iota(blocks.rbegin(), blocks.rend(), 0);  // backwards: a block table is not the identity
  std::vector<std::vector<float>> result;
  const int length = static_cast<int>(tokens.size());
  for (int begin = 0; begin < length; begin += step_tokens) {
    const int count = std::min(step_tokens, length - begin);
    backend::Batch batch;
    batch.tokens.assign(tokens.begin() + begin, tokens.begin() + begin + count);
    batch.sequences.push_back({0, count, begin, blocks});
    for (int i = 0; i < count; ++i) batch.logit_rows.push_back(i);
    const std::span<const float> logits = model.backend().forward(batch).logits;
    const size_t vocab = static_cast<size_t>(model.spec().vocab_size);
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      result.emplace_back(logits.begin() + static_cast<ptrdiff_t>(i * vocab),
                          logits.begin() + static_cast<ptrdiff_t>((i + 1) * vocab));
    }
  }
  return result;
}

struct Case {
  const char* name;
  const char* model;
  const char* golden;
  bool is_committed;  // a tiny model beside the goldens; otherwise a real one, fetched
};

struct Distance {
  float worst = 0.0f;
  double mean = 0.0;
};

Distance distance_to_goldens(model::Model& model, const std::vector<GoldenPrompt>& prompts,
                             int step_tokens) {
  Distance distance;
  double sum = 0.0;
  size_t count = 0;
  for (const GoldenPrompt& prompt : prompts) {
    const auto logits = all_logits(model, prompt.tokens, step_tokens);
    for (const GoldenRow& row : prompt.rows) {
      for (const auto& [id, value] : row.logits) {
        const float error = std::abs(logits[static_cast<size_t>(row.position)][id] - value);
        distance.worst = std::max(distance.worst, error);
        sum += error;
        ++count;
      }
    }
  }
  distance.mean = sum / static_cast<double>(count);
  return distance;
}

class LogitFidelity : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const Case& test = GetParam();
    const std::string golden_folder = test_data("fidelity/golden/");
    path_ = test.is_committed ? golden_folder + test.model : find_test_model(test.model);
    if (path_.empty()) {
      GTEST_SKIP() << missing_model_text(test.model);
    }
    prompts_ = read_goldens(test.golden);
    ASSERT_FALSE(prompts_.empty());
  }

  Distance measure(std::unique_ptr<backend::Backend> backend, int step_tokens) {
    backend::LoadOptions options;
    options.max_logit_rows = options.max_batch_tokens;
    model::Model model = model::load_on(std::move(backend), path_, options);
    model.backend().allocate_cache(64);
    const Distance distance = distance_to_goldens(model, prompts_, step_tokens);
    std::printf("%s, %s, steps of %d: worst %.6f, mean %.7f\n", GetParam().model,
                model.backend().description().c_str(), step_tokens, distance.worst, distance.mean);
    return distance;
  }

  std::string path_;
  std::vector<GoldenPrompt> prompts_;
};

TEST_P(LogitFidelity, ReferenceBackendIsWithinOneThousandthOfPyTorch) {
  EXPECT_LT(measure(backend::make_reference_backend(usable_cores()), 512).worst, 1e-3f);
}

TEST_P(LogitFidelity, ReferenceBackendGivesTheSameInSmallSteps) {
  if (!GetParam().is_committed)
    GTEST_SKIP() << "the tiny models show it in a hundredth of the time";
  EXPECT_LT(measure(backend::make_reference_backend(usable_cores()), 7).worst, 1e-3f);
}

INSTANTIATE_TEST_SUITE_P(
    Models, LogitFidelity,
    testing::Values(Case{"SmolLM2", "smollm2-135m-q4_1.gguf", "smollm2_logits.txt", false},
                    Case{"Gemma3", "gemma3-270m-q4_k_m.gguf", "gemma3_logits.txt", false},
                    Case{"TinyLlama31", "tiny_llama31.gguf", "tiny_llama31_logits.txt", true},
                    Case{"TinyQwen2", "tiny_qwen2.gguf", "tiny_qwen2_logits.txt", true},
                    Case{"TinyQwen3", "tiny_qwen3.gguf", "tiny_qwen3_logits.txt", true},
                    Case{"TinyGemma3", "tiny_gemma3.gguf", "tiny_gemma3_logits.txt", true}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace sluice
