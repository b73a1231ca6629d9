// The whole model against float32 PyTorch `transformers` on the same weights: golden logits made by
// make_logit_goldens.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/threads.h"
#include "model/model.h"

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
  std::ifstream file(std::string(SLUICE_TEST_DATA) + "/fidelity/golden/" + name);
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

std::string test_model(const std::string& name) {
  const char* folder = std::getenv("SLUICE_TEST_MODELS");
  return folder ? std::string(folder) + "/" + name : "";
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
    const std::span<const float> logits = model.backend().forward(batch);
    const size_t vocab = static_cast<size_t>(model.spec().vocab_size);
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      result.emplace_back(logits.begin() + static_cast<ptrdiff_t>(i * vocab),
                          logits.begin() + static_cast<ptrdiff_t>((i + 1) * vocab));
    }
  }
  return result;
}

struct Case {
  const char* model;
  const char* golden;
};

class LogitFidelity : public testing::TestWithParam<Case> {
 protected:
  // The largest distance of any golden logit, and the share of rows with the same best token.
  void expect_close(std::unique_ptr<backend::Backend> backend, int step_tokens, float max_distance,
                    float max_mean_distance) {
    const std::string path = test_model(GetParam().model);
    if (path.empty() || !std::ifstream(path)) {
      GTEST_SKIP() << "set SLUICE_TEST_MODELS to a folder that holds " << GetParam().model;
    }
    const std::vector<GoldenPrompt> prompts = read_goldens(GetParam().golden);
    ASSERT_EQ(prompts.size(), 10u);
    backend::LoadOptions options;
    options.max_logit_rows = options.max_batch_tokens;
    model::Model model(path, std::move(backend), options);
    model.backend().allocate_cache(64);
    float worst = 0.0f;
    double sum = 0.0;
    size_t count = 0;
    for (const GoldenPrompt& prompt : prompts) {
      const auto logits = all_logits(model, prompt.tokens, step_tokens);
      for (const GoldenRow& row : prompt.rows) {
        for (const auto& [id, value] : row.logits) {
          const float distance = std::abs(logits[static_cast<size_t>(row.position)][id] - value);
          worst = std::max(worst, distance);
          sum += distance;
          ++count;
        }
      }
    }
    RecordProperty("worst", std::to_string(worst));
    std::printf("%s, %s: worst %.5f, mean %.6f over %zu logits\n", GetParam().model,
                model.backend().description().c_str(), worst, sum / static_cast<double>(count),
                count);
    EXPECT_LT(worst, max_distance);
    EXPECT_LT(sum / static_cast<double>(count), max_mean_distance);
  }
};

TEST_P(LogitFidelity, ReferenceBackendIsWithinOneThousandthOfPyTorch) {
  expect_close(backend::make_reference_backend(usable_cores()), 512, 1e-3f, 1e-4f);
}

TEST_P(LogitFidelity, ReferenceBackendGivesTheSameInSmallSteps) {
  expect_close(backend::make_reference_backend(usable_cores()), 7, 1e-3f, 1e-4f);
}

INSTANTIATE_TEST_SUITE_P(RealModels, LogitFidelity,
                         testing::Values(Case{"smollm2-135m-q4_1.gguf", "smollm2_logits.txt"},
                                         Case{"gemma3-270m-q4_k_m.gguf", "gemma3_logits.txt"}),
                         [](const auto& info) {
                           return std::string(info.param.golden).substr(0, 6) == "smollm"
                                      ? "SmolLM2"
                                      : "Gemma3";
                         });

}  // namespace
}  // namespace sluice
