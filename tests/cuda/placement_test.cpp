// Where models come to lie, on machines of the fake driver.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "backend/cuda/cuda_backend.h"
#include "backend/tiny_model.h"
#include "base/error.h"
#include "cuda/fake_cuda.h"
#include "model/load.h"
#include "test_data.h"

namespace sluice::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Placed : public testing::Test {
 protected:
  // What it was loaded on, "cuda:0"; with layers when they are split: "cpu 1 cuda:0 1".
  std::string load(const std::string& device, const std::string& machine) {
    backend::cuda::configure_fake(machine);
    notes_.clear();
    Placement placement;
    placement.device = device;
    placement.cuda_driver = driver_;
    placement.num_threads = 1;
    placement.passes_full_over = passes_full_over_;
    placement.gpu_layers = gpu_layers_;
    placement.max_device_bytes = max_device_bytes_;
    placement.cache = cache_;
    backend::LoadOptions options;
    options.max_batch_tokens = 32;
    num_in_use_ = 0;
    options.on_progress = [this](double) { num_in_use_ = std::max(num_in_use_, gpus_in_use()); };
    const long contexts_before = backend::cuda::fake_counter("contexts");
    const auto model = load_model(kModel, placement, options,
                                  [this](const std::string& note) { notes_.push_back(note); });
    num_opened_ = backend::cuda::fake_counter("contexts") - contexts_before;
    std::string text;
    for (const auto& [device, num_layers] : model->backend().stages()) {
      const std::string description = device->description();
      text += (text.empty() ? "" : " ") + description.substr(0, description.find(' '));
      if (num_layers > 0) text += " " + std::to_string(num_layers);
    }
    // Never more than the budget, cache included.
    const CachePlan cache = plan_cache(cache_needs(*model, placement));
    model->backend().allocate_cache(cache.num_blocks);
    num_cache_tokens_ = cache.num_blocks * backend::kBlockTokens;
    for (const auto& [device, num_layers] : model->backend().stages()) {
      const backend::MemoryUse use = device->memory();
      EXPECT_LE(use.on_device, max_device_bytes_.value_or(SIZE_MAX / 102) * 102 / 100);
    }
    return text;
  }
  long gpus_in_use() const {
    std::string reason;
    const auto gpus = backend::list_cuda_devices(driver_, reason);
    return std::count_if(gpus.begin(), gpus.end(),
                         [](const backend::CudaDevice& gpu) { return gpu.is_in_use; });
  }
  // Bytes that a whole model takes on a GPU, with a cache of so many tokens.
  uint64_t whole_bytes(int tokens) const {
    backend::cuda::configure_fake("");
    const gguf::File file = gguf::File::open(kModel);
    backend::LoadOptions options;
    options.max_batch_tokens = 32;
    const backend::MemoryUse use =
        backend::make_cuda_backend({0, backend::cuda::fake_library()})
            ->plan(build_program(read_spec(file), file), options, tokens / backend::kBlockTokens);
    return use.on_device;
  }
  std::string failure(const std::string& device, const std::string& machine, ErrorCode code) {
    try {
      load(device, machine);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      return error.what();
    }
    ADD_FAILURE() << "it was loaded";
    return "";
  }

  const std::string kModel = test_data("gguf/golden/tiny-q4_0.gguf");
  std::string driver_ = backend::cuda::fake_library();
  bool passes_full_over_ = true;
  std::optional<int> gpu_layers_;
  std::optional<uint64_t> max_device_bytes_;
  CacheWish cache_ = {256, 1, 0};
  int num_cache_tokens_ = 0;
  // GPUs on which a context was made, and on which there was one while weights were loaded.
  long num_opened_ = 0, num_in_use_ = 0;
  std::vector<std::string> notes_;
};

TEST_F(Placed, OnTheGpuIfThereIsOne) {
  EXPECT_EQ(load("auto", "devices=2"), "cuda:0");
  EXPECT_EQ(load("cuda", ""), "cuda:0");
  EXPECT_EQ(load("cuda:1", "devices=2"), "cuda:1");
  EXPECT_EQ(load("cpu", ""), "cpu");
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(Placed, OnTheCpuElseAndSaysWhy) {
  driver_ = backend::cuda::fake_library_anew();
  EXPECT_EQ(load("auto", "no-start"), "cpu");
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("CUDA_VISIBLE_DEVICES")));
  driver_ = backend::cuda::fake_library();
  EXPECT_EQ(load("auto", "capability=75"), "cpu");
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("cuda:0 is passed over: the GPU Emulated GPU 0 is too "
                                            "old (compute capability 7.5)")));
  EXPECT_EQ(load("auto", "memory=0"), "cpu");
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("does not fit on cuda:0 alone: not enough memory")));
  EXPECT_EQ(load("auto", "memory=64,used=64"), "cpu");
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("not enough memory")));
  driver_ = "libnosuchdriver.so";
  EXPECT_EQ(load("auto", ""), "cpu");
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("the NVIDIA driver is not installed")));
}

TEST_F(Placed, AFullGpuIsAnErrorForWhoCanMakeRoom) {
  passes_full_over_ = false;
  EXPECT_THAT(failure("auto", "memory=64,used=64", ErrorCode::kOutOfMemory),
              HasSubstr("not enough memory for the model"));
  EXPECT_EQ(load("auto", "memory=0"), "cpu");  // nobody can
}

TEST_F(Placed, ADeviceByNameIsTakenOrRefused) {
  EXPECT_THAT(failure("cuda:2", "devices=2", ErrorCode::kInvalidArgument),
              HasSubstr("there is no device cuda:2: the driver lists 2"));
  EXPECT_THAT(failure("cuda:x", "", ErrorCode::kInvalidArgument), HasSubstr("'cuda:x'"));
  EXPECT_THAT(failure("cuda", "memory=64,used=64", ErrorCode::kOutOfMemory),
              HasSubstr("not enough memory for the model"));
  driver_ = backend::cuda::fake_library_anew();
  EXPECT_THAT(failure("cuda", "version=11080", ErrorCode::kUnsupported), HasSubstr("CUDA 11.8"));
}

TEST_F(Placed, OnTheGpuWithTheMostFreeMemory) {
  backend::cuda::configure_fake("devices=2");
  backend::LoadOptions options;
  options.max_batch_tokens = 32;
  Placement placement;
  placement.device = "cuda:0";
  placement.cuda_driver = driver_;
  const auto first = load_model(kModel, placement, options);
  placement.device = "auto";
  const auto second = load_model(kModel, placement, options);
  EXPECT_THAT(second->backend().description(), testing::StartsWith("cuda:1 "));
}

TEST_F(Placed, OpensOnlyTheGpusThatItMayNeed) {
  EXPECT_EQ(load("auto", "devices=4,memory=4096"), "cuda:0");
  EXPECT_EQ(num_opened_, 1);
  EXPECT_EQ(load("cuda:2", "devices=4,memory=4096"), "cuda:2");
  EXPECT_EQ(num_opened_, 1);
  // One that others use is looked at, and left.
  EXPECT_EQ(load("auto", "devices=4,memory=4096,used-0=3000"), "cuda:1");
  EXPECT_EQ(num_opened_, 2);
  EXPECT_EQ(num_in_use_, 1);
  EXPECT_EQ(load("auto", "devices=3,memory=4096,used-0=2000,used-1=3000,used-2=1500"), "cuda:2");
  EXPECT_EQ(num_opened_, 3);
  EXPECT_EQ(num_in_use_, 1);
  gpu_layers_ = 1;
  EXPECT_EQ(load("auto", "devices=4,memory=4096"), "cpu 1 cuda:0 1");
  EXPECT_EQ(num_opened_, 1);
  gpu_layers_.reset();
  max_device_bytes_ = whole_bytes(256) - 1;
  EXPECT_EQ(load("auto", "devices=4,memory=4096"), "cuda:1 1 cuda:0 1");
  EXPECT_EQ(num_opened_, 2);
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("cuda:0 alone"), HasSubstr("cuda:1 alone")));
  EXPECT_EQ(load("auto", "devices=4,memory=4096,used-1=3000"), "cuda:2 1 cuda:0 1");
  EXPECT_EQ(num_opened_, 3);
  EXPECT_EQ(num_in_use_, 2);
  gpu_layers_ = 2;
  EXPECT_EQ(load("auto", "devices=4,memory=4096"), "cuda:1 1 cuda:0 1");
  EXPECT_EQ(num_opened_, 2);
  gpu_layers_.reset();
  max_device_bytes_ = 1;
  EXPECT_EQ(load("auto", "devices=4,memory=4096"), "cpu");
  EXPECT_EQ(num_opened_, 4);
}

TEST_F(Placed, OverGpuAndCpuWhenNotAllOfItFits) {
  max_device_bytes_ = whole_bytes(256) - 1;
  EXPECT_EQ(load("auto", ""), "cpu 1 cuda:0 1");
  EXPECT_EQ(load("cuda:0,cpu", ""), "cpu 1 cuda:0 1");
  EXPECT_EQ(num_cache_tokens_, 256);
  max_device_bytes_ = whole_bytes(256);
  EXPECT_EQ(load("auto", ""), "cuda:0");
  EXPECT_EQ(load("cuda:0,cpu", ""), "cuda:0");
  max_device_bytes_ = 1;
  EXPECT_EQ(load("auto", ""), "cpu");
  EXPECT_EQ(load("cuda:0,cpu", ""), "cpu");
}

TEST_F(Placed, OverSeveralGpusRatherThanTheCpu) {
  max_device_bytes_ = whole_bytes(256) - 1;
  EXPECT_EQ(load("auto", "devices=2"), "cuda:1 1 cuda:0 1");
  EXPECT_EQ(load("cuda:1,cuda:0", "devices=2"), "cuda:0 1 cuda:1 1");
  EXPECT_EQ(load("auto", "devices=3"), "cuda:1 1 cuda:0 1");
}

// A model that would only fit with less cache than one conversation wants is split instead; where
// it cannot be, it gets what there is.
TEST_F(Placed, WithRoomForTheCache) {
  cache_ = {512, 4, 0};
  max_device_bytes_ = whole_bytes(256) + 100'000;
  EXPECT_EQ(load("auto", ""), "cpu 1 cuda:0 1");
  EXPECT_GE(num_cache_tokens_, 512);
  EXPECT_EQ(load("cuda:0", ""), "cuda:0");
  EXPECT_LT(num_cache_tokens_, 512);
}

TEST_F(Placed, WithAsManyLayersOnGpusAsIsSaid) {
  gpu_layers_ = 1;
  EXPECT_EQ(load("auto", ""), "cpu 1 cuda:0 1");
  EXPECT_EQ(load("cuda:1", "devices=2"), "cpu 1 cuda:1 1");
  gpu_layers_ = 99;
  EXPECT_EQ(load("auto", "devices=2"), "cuda:0");
  gpu_layers_ = 0;
  EXPECT_EQ(load("auto", ""), "cpu");
  EXPECT_EQ(load("cuda:0", ""), "cpu");
  EXPECT_EQ(load("reference", ""), "reference");
  gpu_layers_ = 2;
  max_device_bytes_ = whole_bytes(256) - 1;
  EXPECT_EQ(load("auto", "devices=2"), "cuda:1 1 cuda:0 1");
  EXPECT_THAT(failure("auto", "", ErrorCode::kOutOfMemory),
              HasSubstr("not enough memory for 2 of the model's 2 layers on cuda:0: 1 fit"));
  EXPECT_THAT(failure("cpu", "", ErrorCode::kInvalidArgument), HasSubstr("the device is cpu"));
  driver_ = "libnosuchdriver.so";
  EXPECT_EQ(load("auto", ""), "cpu");  // a request's num_gpu asks for what there may not be
}

TEST_F(Placed, WhereverALoadOverGpuAndCpuFailsTheCpuTakesIt) {
  max_device_bytes_ = whole_bytes(256) - 1;
  for (const char* fault : {"fail-alloc=2", "fail-kernel=3", "fail-launch=2"}) {
    EXPECT_EQ(load("auto", std::string("checks=none,") + fault), "cpu") << fault;
    EXPECT_THAT(notes_, testing::Contains(HasSubstr("cuda:0 is passed over: "))) << fault;
  }
  EXPECT_EQ(load("auto", "devices=2,fail-alloc=2"), "cpu");
  EXPECT_THAT(notes_, testing::Contains(HasSubstr("cuda:0, cuda:1 is passed over: ")));
  failure("cuda:0,cpu", "fail-alloc=2", ErrorCode::kOutOfMemory);
}

TEST_F(Placed, RoomIsMadeOnAGpuBeforeLayersGoElsewhere) {
  passes_full_over_ = false;
  max_device_bytes_ = whole_bytes(256) - 1;
  EXPECT_THAT(failure("auto", "memory=64", ErrorCode::kOutOfMemory),
              HasSubstr("not enough memory for the model"));
  max_device_bytes_.reset();
  EXPECT_THAT(failure("cuda:0,cpu", "memory=64,used=64", ErrorCode::kOutOfMemory),
              HasSubstr("not enough memory for the model"));
}

TEST_F(Placed, OnTheCpuWhatNoGpuCanRun) {
  backend::cuda::configure_fake("");
  backend::TinyShape shape;
  shape.head_dim = 512;
  shape.num_heads = shape.num_kv_heads = 1;
  const backend::TinyModel model(shape, 7);
  Placement placement;
  placement.device = "auto";
  placement.cuda_driver = driver_;
  const auto note = [this](const std::string& text) { notes_.push_back(text); };
  const auto backend = place_program(model.program(), 0, placement, {}, note);
  EXPECT_THAT(backend->description(), testing::StartsWith("cpu"));
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("cuda:0 is passed over: heads of 512 dimensions")));
  placement.device = "cuda:0";
  EXPECT_THROW(place_program(model.program(), 0, placement, {}, note), Error);
}

TEST(Placement, NamesOfDevices) {
  for (const char* good : {"auto", "cpu", "reference", "cuda", "cuda:1", "cuda:0,cuda:1,cpu"}) {
    check_placement(good, {});
  }
  for (const char* bad :
       {"", "abacus", "cuda:", "cuda:-1", "cuda:x", "cuda:0,", ",cpu", "cpu,cpu", "cpu,cuda:0",
        "cuda:0,cuda", "auto,cpu", "cuda:0,reference", "gpu", "cuda:99999999999"}) {
    EXPECT_THROW(check_placement(bad, {}), Error) << bad;
  }
  check_placement("cpu", 0);
  check_placement("auto", 5);
  EXPECT_THROW(check_placement("auto", -1), Error);
  EXPECT_THROW(check_placement("cpu", 1), Error);
  EXPECT_THROW(check_placement("reference", 1), Error);
}

}  // namespace
}  // namespace sluice::model
