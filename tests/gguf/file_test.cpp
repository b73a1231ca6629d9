#include "gguf/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

#include "base/error.h"
#include "gguf/raw_file.h"
#include "quant/codec.h"
#include "test_data.h"
#include "thrown.h"

namespace sluice::gguf {
namespace {

using test::code_of;

using testing::ElementsAre;
using testing::HasSubstr;

class PypiFile : public testing::Test {
 protected:
  File file_ = File::open(test_data("gguf/golden/pypi.gguf"));
};

TEST_F(PypiFile, HasEveryScalar) {
  EXPECT_EQ(file_.version(), 3u);
  EXPECT_EQ(file_.get_string("general.architecture"), "llama");
  EXPECT_EQ(file_.get_uint("t.uint8"), 200u);
  EXPECT_EQ(file_.get_int("t.int8"), -100);
  EXPECT_EQ(file_.get_uint("t.uint16"), 60000u);
  EXPECT_EQ(file_.get_int("t.int16"), -30000);
  EXPECT_EQ(file_.get_uint("t.uint32"), 4'000'000'000u);
  EXPECT_EQ(file_.get_int("t.int32"), -2'000'000'000);
  EXPECT_EQ(file_.get_uint("t.uint64"), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(file_.get_int("t.int64"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(file_.get_float("t.float32"), 0.5);
  EXPECT_EQ(file_.get_float("t.float64"), 1e300);
  EXPECT_EQ(file_.get_bool("t.bool"), true);
  EXPECT_EQ(file_.get_string("t.string"), "grüße");
}

TEST_F(PypiFile, HasEveryArray) {
  ASSERT_NE(file_.get_strings("t.strings"), nullptr);
  EXPECT_THAT(*file_.get_strings("t.strings"), ElementsAre("a", "", "日本"));
  EXPECT_THAT(*file_.get_ints("t.ints"), ElementsAre(1, -2, 3));
  EXPECT_THAT(*file_.get_floats("t.ints"), ElementsAre(1.0f, -2.0f, 3.0f));
  EXPECT_THAT(*file_.get_floats("t.floats"), ElementsAre(0.25f, -1.5f));
  EXPECT_THAT(*file_.get_ints("t.bools"), ElementsAre(1, 0));
}

TEST_F(PypiFile, HasItsTensors) {
  ASSERT_EQ(file_.tensors().size(), 3u);
  const Tensor* exact = file_.find_tensor("a.f32");
  const Tensor* rounded = file_.find_tensor("a.q8_0");
  ASSERT_TRUE(exact != nullptr && rounded != nullptr);
  EXPECT_THAT(exact->shape, ElementsAre(64, 3));
  EXPECT_EQ(exact->rows(), 3);
  EXPECT_EQ(rounded->type, quant::Type::kQ8_0);
  float expected[192], actual[192];
  quant::dequantize(exact->type, exact->data.read().data(), expected, 192);
  quant::dequantize(rounded->type, rounded->data.read().data(), actual, 192);
  for (int i = 0; i < 192; ++i) EXPECT_NEAR(actual[i], expected[i], 0.02f);
}

TEST_F(PypiFile, LooksUpNothingForAbsentNames) {
  EXPECT_EQ(file_.find("absent"), nullptr);
  EXPECT_EQ(file_.find_tensor("absent"), nullptr);
  EXPECT_FALSE(file_.get_uint("absent").has_value());
  EXPECT_FALSE(file_.get_string("absent").has_value());
  EXPECT_FALSE(file_.get_floats("absent").has_value());
  EXPECT_EQ(file_.get_strings("absent"), nullptr);
}

TEST_F(PypiFile, RefusesLookUpsOfAnotherType) {
  const auto corrupt = ErrorCode::kCorruptData;
  EXPECT_EQ(code_of([&] { file_.get_uint("t.string"); }), corrupt);
  EXPECT_EQ(code_of([&] { file_.get_uint("t.float32"); }), corrupt);
  EXPECT_EQ(code_of([&] { file_.get_string("t.uint8"); }), corrupt);
  EXPECT_EQ(code_of([&] { file_.get_bool("t.uint8"); }), corrupt);
  EXPECT_EQ(code_of([&] { file_.get_float("t.bool"); }), corrupt);
  EXPECT_EQ(code_of([&] { file_.get_ints("t.uint8"); }), corrupt);
  EXPECT_EQ(code_of([&] { file_.get_ints("t.floats"); }), corrupt);
  EXPECT_EQ(code_of([&] { file_.get_strings("t.ints"); }), corrupt);
  EXPECT_EQ(code_of([&] { file_.get_floats("t.strings"); }), corrupt);
}

TEST_F(PypiFile, RefusesIntegersOutOfRange) {
  EXPECT_EQ(code_of([&] { file_.get_uint("t.int8"); }), ErrorCode::kCorruptData);
  EXPECT_EQ(code_of([&] { file_.get_int("t.uint64"); }), ErrorCode::kCorruptData);
  EXPECT_EQ(file_.get_float("t.int8"), -100.0);
}

TEST_F(PypiFile, KeepsItsViewsWhenMoved) {
  File moved = std::move(file_);
  EXPECT_EQ(moved.get_string("t.string"), "grüße");
  EXPECT_EQ(moved.find_tensor("a.f16")->num_elements(), 192);
}

TEST(File, ReadsVersion2) {
  const RawFile raw =
      RawFile().header(1, 1, 2).uint32_entry("n", 7).tensor("w", {2, 3}, 0, 0).data(24);
  const File file = File::parse(raw.bytes());
  EXPECT_EQ(file.version(), 2u);
  EXPECT_EQ(file.get_uint("n"), 7u);
  EXPECT_EQ(file.find_tensor("w")->data.size(), 24u);
}

TEST(File, ReadsAFileWithoutTensors) {
  const RawFile raw = RawFile().header(0, 1).uint32_entry("n", 7);
  EXPECT_EQ(File::parse(raw.bytes()).get_int("n"), 7);
}

TEST(File, HonoursTheFilesAlignment) {
  const RawFile raw = RawFile()
                          .header(2, 1)
                          .uint32_entry("general.alignment", 64)
                          .tensor("b", {1}, 0, 64)  // tensors may come in any order
                          .tensor("a", {1}, 0, 0)
                          .data(68, 64);
  const File file = File::parse(raw.bytes());
  const std::byte* a = file.find_tensor("a")->data.memory().data();
  EXPECT_EQ(file.find_tensor("b")->data.memory().data() - a, 64);
  EXPECT_EQ(a - raw.bytes().data(), static_cast<ptrdiff_t>(raw.bytes().size() - 68));
}

TEST(File, SaysWhichFileAndWhatIsWrong) {
  try {
    File::open(test_data("quant/golden/decode_F32.bin"));
    FAIL() << "the file was accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("decode_F32.bin: byte 4: this is not a GGUF file"));
  }
}

TEST(File, RefusesWhatIsNoFile) {
  EXPECT_EQ(code_of([] { File::open("/nonexistent/model.gguf"); }), ErrorCode::kNotFound);
  EXPECT_EQ(code_of([] { File::open("/tmp"); }), ErrorCode::kInvalidArgument);
}

class FileOnDisk : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / "sluice_gguf_file_test";
    std::filesystem::create_directories(folder_);
    path_ = (folder_ / "model.gguf").string();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(const RawFile& raw) const {
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(raw.bytes().data()),
               static_cast<std::streamsize>(raw.bytes().size()));
  }

  std::filesystem::path folder_;
  std::string path_;
};

// Values of all sizes, so that they fall across the pieces in which a head is read.
TEST_F(FileOnDisk, AHeadOfManyPiecesIsReadAsFromMemory) {
  constexpr uint64_t kNumStrings = 60'000;
  RawFile raw = RawFile().header(1, 3).text("long").type(ValueType::kString);
  raw.text(std::string(700'000, 'x'));
  raw.text("many").type(ValueType::kArray).type(ValueType::kString).u64(kNumStrings);
  for (uint64_t i = 0; i < kNumStrings; ++i) raw.text(std::string(i % 37, 'a') + std::to_string(i));
  raw.uint32_entry("n", 7).tensor("w", {16}, 0, 0).data(64);
  write(raw);
  const File file = File::open(path_);
  const File expected = File::parse(raw.bytes());
  EXPECT_EQ(file.get_string("long"), expected.get_string("long"));
  EXPECT_EQ(*file.get_strings("many"), *expected.get_strings("many"));
  EXPECT_EQ(file.get_uint("n"), 7u);
  EXPECT_EQ(file.find_tensor("w")->data.read(), expected.find_tensor("w")->data.read());
}

TEST_F(FileOnDisk, ATensorOfAFileCutShortIsAnError) {
  write(RawFile().header(1, 0).tensor("w", {1024}, 0, 0).data(4096));
  const File file = File::open(path_);
  std::filesystem::resize_file(path_, 200);
  EXPECT_EQ(code_of([&] { file.find_tensor("w")->data.read(); }), ErrorCode::kCorruptData);
  EXPECT_EQ(code_of([&] { file.check_unchanged(); }), ErrorCode::kCorruptData);
}

TEST_F(FileOnDisk, TheHeadOutlivesTheFile) {
  write(RawFile().header(1, 1).uint32_entry("n", 7).tensor("w", {16}, 0, 0).data(64));
  File file = File::open(path_);
  file.close();
  std::filesystem::remove(path_);
  EXPECT_EQ(file.get_uint("n"), 7u);
  EXPECT_EQ(file.find_tensor("w")->rows(), 1);
  EXPECT_EQ(file.find_tensor("w")->data.size(), 0u);
}

// A sparse file of a terabyte can claim anything; nothing is allocated for it.
TEST_F(FileOnDisk, AHugeHeadIsRefusedBeforeItTakesMemory) {
  for (const uint32_t element_type : {8u, 4u, 0u}) {
    RawFile raw = RawFile().header(0, 1).text("key").type(ValueType::kArray).u32(element_type);
    write(raw.u64(uint64_t{1} << 36));
    std::filesystem::resize_file(path_, uint64_t{1} << 40);
    EXPECT_EQ(code_of([&] { File::open(path_); }), ErrorCode::kCorruptData) << element_type;
  }
}

TEST_F(FileOnDisk, PipesAndDevicesAreRefusedAtOnce) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(code_of([&] { File::open(path_); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([] { File::open("/dev/zero"); }), ErrorCode::kInvalidArgument);
}

void expect_finite_rows(const File& file) {
  for (const Tensor& tensor : file.tensors()) {
    std::vector<float> row(static_cast<size_t>(tensor.columns()));
    std::vector<std::byte> bytes(quant::size_bytes(tensor.type, tensor.columns()));
    tensor.data.read(0, bytes);
    quant::dequantize(tensor.type, bytes.data(), row.data(), tensor.columns());
    for (const float value : row) ASSERT_TRUE(std::isfinite(value)) << tensor.name;
  }
}

TEST(SyntheticModel, IsReadWhole) {
  const File file = File::open(test_data("gguf/golden/tiny-q4_0.gguf"));
  EXPECT_EQ(file.get_uint("llama.block_count"), 2u);
  EXPECT_EQ(file.get_strings("tokenizer.ggml.tokens")->size(), 299u);
  EXPECT_THAT(file.find_tensor("token_embd.weight")->shape, ElementsAre(64, 299));
  EXPECT_EQ(file.find_tensor("blk.1.ffn_down.weight")->type, quant::Type::kQ4_0);
  expect_finite_rows(file);
}

TEST(RealModel, IsReadWhole) {
  const char* folder = std::getenv("SLUICE_TEST_MODELS");
  if (folder == nullptr) GTEST_SKIP() << "set SLUICE_TEST_MODELS to a folder with the real models";
  const std::filesystem::path path = std::filesystem::path(folder) / "smollm2-135m-q4_1.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const File file = File::open(path);
  EXPECT_EQ(file.get_string("general.architecture"), "llama");
  EXPECT_EQ(file.get_strings("tokenizer.ggml.tokens")->size(), 49152u);
  expect_finite_rows(file);
}

}  // namespace
}  // namespace sluice::gguf
