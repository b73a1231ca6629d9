// Embeddings against float32 PyTorch `transformers` on the same weights: golden vectors made by
// make_embedding_goldens.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <future>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "base/threads.h"
#include "engine/engine.h"
#include "fidelity/test_models.h"
#include "model/load.h"
#include "test_data.h"

namespace sluice {
namespace {

constexpr char kModel[] = "smollm2-135m-q4_1.gguf";

struct Golden {
  std::vector<int32_t> tokens;
  std::map<std::string, std::vector<float>> vectors;  // "last", "mean", "first"
};

std::vector<Golden> read_goldens() {
  std::ifstream file(test_data("fidelity/golden/smollm2_embeddings.txt"));
  std::vector<Golden> goldens;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string kind;
    words >> kind;
    if (kind == "prompt") {
      Golden& golden = goldens.emplace_back();
      for (int32_t id; words >> id;) golden.tokens.push_back(id);
    } else {
      for (float value; words >> value;) goldens.back().vectors[kind].push_back(value);
    }
  }
  return goldens;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

class EmbeddingFidelity : public testing::Test {
 protected:
  void SetUp() override {
    path_ = find_test_model(kModel);
    if (path_.empty()) GTEST_SKIP() << missing_model_text(kModel);
    goldens_ = read_goldens();
    ASSERT_EQ(goldens_.size(), 3u);
  }

  // The lowest cosine between ours and the golden ones, in small steps.
  double worst_cosine(std::unique_ptr<backend::Backend> backend) {
    backend::LoadOptions load;
    load.max_embedding_rows = load.max_batch_tokens;
    model::Model model = model::load_on(std::move(backend), path_, load);
    model.backend().allocate_cache(64);
    const auto tokenizer = text::Tokenizer::from_gguf(model.file());
    double worst = 1;
    for (const auto& [name, pooling] : {std::pair{"last", engine::Pooling::kLast},
                                        {"mean", engine::Pooling::kMean},
                                        {"first", engine::Pooling::kFirst}}) {
      engine::EngineOptions options;
      options.vocab_size = model.spec().vocab_size;
      options.embedding_length = model.spec().embedding_length;
      options.pooling = pooling;
      options.num_blocks = 64;
      options.max_batch_tokens = 16;
      options.max_sequences = 16;
      engine::Engine engine(model.backend(), *tokenizer, options);
      for (const Golden& golden : goldens_) {
        const std::vector<float> ours = embed(engine, golden.tokens);
        EXPECT_NEAR(dot(ours, ours), 1, 1e-5);
        const double cosine = dot(ours, golden.vectors.at(name));
        std::printf("%s, %s: cosine %.7f\n", model.backend().description().c_str(), name, cosine);
        worst = std::min(worst, cosine);
      }
    }
    return worst;
  }

  static std::vector<float> embed(engine::Engine& engine, const std::vector<int32_t>& tokens) {
    std::promise<engine::Event> done;
    engine::Request request;
    request.task = engine::Task::kEmbed;
    request.prompt = tokens;
    request.on_event = [&](const engine::Event& event) {
      if (event.is_final) done.set_value(event);
    };
    engine.submit(request);
    return done.get_future().get().embedding;
  }

  std::string path_;
  std::vector<Golden> goldens_;
};

TEST_F(EmbeddingFidelity, ReferenceBackendGivesPyTorchsVectors) {
  EXPECT_GT(worst_cosine(backend::make_reference_backend(usable_cores())), 0.9999);
}

TEST_F(EmbeddingFidelity, FastBackendIsAsNearAsItsRounding) {
  EXPECT_GT(worst_cosine(backend::make_cpu_backend({})), 0.999);
}

}  // namespace
}  // namespace sluice
