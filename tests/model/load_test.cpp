#include "model/load.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "base/error.h"
#include "test_data.h"

namespace sluice::model {
namespace {

namespace fs = std::filesystem;

class Load : public testing::Test {
 protected:
  void SetUp() override {
    fs::copy_file(test_data("gguf/golden/tiny-q4_0.gguf"), path_,
                  fs::copy_options::overwrite_existing);
  }
  void TearDown() override { fs::remove(path_); }

  ErrorCode error_of(const Placement& placement, const backend::LoadOptions& options = {}) const {
    try {
      load_model(path_, placement, options);
    } catch (const Error& error) {
      return error.code();
    }
    ADD_FAILURE() << "it was loaded";
    return ErrorCode::kInternal;
  }

  const std::string path_ = (fs::path(testing::TempDir()) / "sluice_model_load_test.gguf").string();
};

float first_logit(Model& model) {
  model.backend().allocate_cache(1);
  const std::vector<int32_t> blocks = {0};
  backend::Batch batch;
  batch.tokens = {1, 2};
  batch.sequences.push_back({0, 2, 0, blocks, true});
  batch.logit_rows = {1};
  return model.backend().forward(batch).logits[0];
}

TEST_F(Load, TheFileMayGoAfterwards) {
  for (const char* device : {"cpu", "reference"}) {
    SetUp();
    Placement placement;
    placement.device = device;
    placement.num_threads = 2;
    const auto kept = load_model(path_, placement, {});
    const auto model = load_model(path_, placement, {});
    fs::resize_file(path_, 0);
    EXPECT_EQ(first_logit(*model), first_logit(*kept));
    EXPECT_EQ(model->file().get_uint("llama.block_count"), 2u);
  }
}

TEST_F(Load, AFileThatIsWrittenToMeanwhileIsAnError) {
  backend::LoadOptions options;
  options.on_progress = [this](double) { fs::resize_file(path_, fs::file_size(path_) + 1); };
  EXPECT_EQ(error_of({}, options), ErrorCode::kCorruptData);
  options.on_progress = [this](double) { fs::resize_file(path_, 1000); };
  EXPECT_EQ(error_of({}, options), ErrorCode::kCorruptData);
}

TEST_F(Load, SaysWhatItCannotDo) {
  Placement placement;
  placement.device = "abacus";
  EXPECT_EQ(error_of(placement), ErrorCode::kInvalidArgument);
  placement = {};
  placement.max_host_bytes = 1000;
  EXPECT_EQ(error_of(placement), ErrorCode::kOutOfMemory);
}

TEST_F(Load, TheCacheGetsWhatTheBudgetLeaves) {
  Placement placement;
  placement.num_threads = 1;
  placement.max_host_bytes = uint64_t{64} << 20;
  const auto model = load_model(path_, placement, {});
  const CacheNeeds needs = cache_needs(*model, placement);
  ASSERT_EQ(needs.rooms.size(), 1u);
  const CacheRoom& room = needs.rooms.front();
  EXPECT_GT(room.weights_bytes, 0u);
  EXPECT_GT(room.workspace_bytes, 0u);
  EXPECT_EQ(room.available_bytes,
            *placement.max_host_bytes - room.weights_bytes - room.workspace_bytes);
  EXPECT_EQ(needs.trained_context, model->spec().context_length);
  placement.max_host_bytes = 1;
  EXPECT_EQ(cache_needs(*model, placement).rooms.front().available_bytes, 0u);
}

}  // namespace
}  // namespace sluice::model
