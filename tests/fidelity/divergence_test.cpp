// The fast backend against the reference backend (float32, itself checked against PyTorch) on real
// models and prose: the goals of the fidelity table in docs/performance.md.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "backend/backend.h"
#include "base/cpu_features.h"
#include "base/threads.h"
#include "fidelity/test_models.h"
#include "measure/perplexity.h"
#include "model/load.h"

namespace sluice {
namespace {

constexpr char kText[] = "/usr/share/common-licenses/GPL-3";

struct Case {
  const char* name;
  const char* model;
  // llama.cpp's own mean divergence on this text: 8-bit activations cost it so much.
  double peer_mean_kl;
};

class Divergence : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    model_path_ = find_test_model(GetParam().model);
    if (model_path_.empty()) GTEST_SKIP() << missing_model_text(GetParam().model);
    std::ifstream file(kText, std::ios::binary);
    if (!file) GTEST_SKIP() << kText << " is not there (Debian's base-files has it)";
    text_ = {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    base_path_ = testing::TempDir() + "sluice_base_" + std::to_string(getpid());
  }
  void TearDown() override {
    if (!base_path_.empty()) std::filesystem::remove(base_path_);
  }

  measure::PerplexityResult run(std::unique_ptr<backend::Backend> backend, int step_tokens,
                                bool is_base) {
    measure::PerplexityOptions options;
    options.step_tokens = step_tokens;
    options.max_windows = 2;
    (is_base ? options.save_base : options.kl_base) = base_path_;
    backend::LoadOptions load;
    load.max_batch_tokens = step_tokens;
    load.max_logit_rows = measure::perplexity_logit_rows(options);
    model::Model model = model::load_on(std::move(backend), model_path_, load);
    model.backend().allocate_cache(options.context / backend::kBlockTokens);
    const auto tokenizer = text::Tokenizer::from_gguf(model.file());
    const auto result = measure::measure_perplexity(model, *tokenizer, text_, options);
    std::printf(
        "%s, %s, steps of %d: perplexity %.4f, mean KL %.6f, 99.9%% %.5f, same top %.2f%%\n",
        GetParam().name, model.backend().description().c_str(), step_tokens, result.perplexity,
        result.mean_kl, result.kl_99_9, 100 * result.same_top_share);
    return result;
  }

  std::string model_path_;
  std::string text_;
  std::string base_path_;
};

TEST_P(Divergence, OfTheCpuBackendFromFloat32IsWithinTheGoals) {
  const auto base = run(backend::make_reference_backend(usable_cores()), 512, true);

  const auto decode = run(backend::make_cpu_backend({}), 4, false);
  EXPECT_LT(decode.mean_kl, 3e-4);
  EXPECT_GT(decode.same_top_share, 0.99);

  const auto prefill = run(backend::make_cpu_backend({}), 512, false);
  EXPECT_LT(prefill.mean_kl, 0.45 * GetParam().peer_mean_kl);
  EXPECT_NEAR(prefill.perplexity / base.perplexity, 1.0, 0.01);
  if (cpu_features().amx) {
    EXPECT_LT(prefill.mean_kl, 5e-4);
  }

  if (cpu_features().avx512_vnni) {
    backend::CpuOptions vnni;
    vnni.force_isa = "avx512";
    const auto forced = run(backend::make_cpu_backend(vnni), 512, false);
    EXPECT_LT(forced.mean_kl, 0.45 * GetParam().peer_mean_kl);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Divergence,
                         testing::Values(Case{"SmolLM2", "smollm2-135m-q4_1.gguf", 0.0030},
                                         Case{"Gemma3", "gemma3-270m-q4_k_m.gguf", 0.0053}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace sluice
