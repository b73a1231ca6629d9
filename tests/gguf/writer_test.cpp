#include "gguf/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "test_data.h"
#include "thrown.h"

namespace sluice::gguf {
namespace {

using test::code_of;

using testing::ElementsAre;

std::vector<std::byte> counting_bytes(size_t count) {
  std::vector<std::byte> bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i);
  return bytes;
}

Writer sample() {
  Writer writer;
  writer.set_string("general.architecture", "llama");
  writer.set_uint32("u32", 4'000'000'000u);
  writer.set_uint64("u64", uint64_t{1} << 63);
  writer.set_int32("i32", -5);
  writer.set_float32("f32", 0.5f);
  writer.set_bool("flag", true);
  writer.set_string("text", "grüße");
  writer.set_strings("texts", {"a", "", "日本"});
  writer.set_int32s("ints", {1, -2, 3});
  writer.set_float32s("floats", {0.25f, -1.5f});
  const float values[6] = {0, 1, 2, 3, 4, 5};
  writer.add_tensor("a.f32", quant::Type::kF32, {3, 2}, std::as_bytes(std::span(values)));
  writer.add_tensor("a.q4_0", quant::Type::kQ4_0, {32}, counting_bytes(18));
  return writer;
}

void expect_sample(const File& file) {
  EXPECT_EQ(file.get_uint("u32"), 4'000'000'000u);
  EXPECT_EQ(file.get_uint("u64"), uint64_t{1} << 63);
  EXPECT_EQ(file.get_int("i32"), -5);
  EXPECT_EQ(file.get_float("f32"), 0.5);
  EXPECT_EQ(file.get_bool("flag"), true);
  EXPECT_EQ(file.get_string("text"), "grüße");
  EXPECT_THAT(*file.get_strings("texts"), ElementsAre("a", "", "日本"));
  EXPECT_THAT(*file.get_ints("ints"), ElementsAre(1, -2, 3));
  EXPECT_THAT(*file.get_floats("floats"), ElementsAre(0.25f, -1.5f));
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.tensors()[0].name, "a.f32");
  EXPECT_THAT(file.tensors()[0].shape, ElementsAre(3, 2));
  const std::vector<std::byte> blocks = file.tensors()[1].data.read();
  EXPECT_EQ(std::vector(blocks.begin(), blocks.end()), counting_bytes(18));
}

std::string temporary_path(const std::string& name) {
  return (std::filesystem::path(testing::TempDir()) / name).string();
}

TEST(Writer, ItsBytesAreReadBack) {
  const std::vector<std::byte> bytes = sample().bytes();
  expect_sample(File::parse(bytes));
  EXPECT_EQ(bytes.size() % 32, 0u);
}

TEST(Writer, SavesWhatBytesReturns) {
  const std::string path = temporary_path("sluice_writer_test.gguf");
  sample().save(path);
  expect_sample(File::open(path));
  EXPECT_EQ(std::filesystem::file_size(path), sample().bytes().size());
  std::filesystem::remove(path);
}

// Leaves a file for `make_gguf_golden.py --check`.
TEST(Writer, PeersCheckItsFile) {
  const char* path = std::getenv("SLUICE_GGUF_OUT");
  sample().save(path != nullptr ? path : temporary_path("sluice_peer.gguf"));
  if (path == nullptr) std::filesystem::remove(temporary_path("sluice_peer.gguf"));
}

TEST(Writer, CopiesEntriesOfAnotherFile) {
  const std::string path = test_data("gguf/golden/pypi.gguf");
  const File original = File::open(path);
  Writer writer;
  for (const auto& [key, value] : original.metadata()) writer.copy(std::string(key), value);
  const std::vector<std::byte> bytes = writer.bytes();
  const File copied = File::parse(bytes);
  ASSERT_EQ(copied.metadata().size(), original.metadata().size());
  for (const char* key : {"t.uint8", "t.uint16", "t.uint32", "t.uint64"}) {
    EXPECT_EQ(copied.get_uint(key), original.get_uint(key)) << key;
  }
  for (const char* key : {"t.int8", "t.int16", "t.int32", "t.int64"}) {
    EXPECT_EQ(copied.get_int(key), original.get_int(key)) << key;
  }
  EXPECT_EQ(copied.get_float("t.float32"), 0.5);
  EXPECT_EQ(copied.get_float("t.float64"), 1e300);
  EXPECT_EQ(*copied.get_strings("t.strings"), *original.get_strings("t.strings"));
  EXPECT_EQ(copied.get_ints("t.bools"), original.get_ints("t.bools"));
}

TEST(Writer, LeavesTheAlignmentOfACopiedFileOut) {
  Writer writer;
  writer.copy("general.alignment", uint64_t{64});
  const std::vector<std::byte> bytes = writer.bytes();
  EXPECT_TRUE(File::parse(bytes).metadata().empty());
}

TEST(Writer, RefusesNamesThatAreEmptyTakenOrReserved) {
  Writer writer = sample();
  const auto invalid = ErrorCode::kInvalidArgument;
  EXPECT_EQ(code_of([&] { writer.set_uint32("u32", 1); }), invalid);
  EXPECT_EQ(code_of([&] { writer.set_uint32("", 1); }), invalid);
  EXPECT_EQ(code_of([&] { writer.set_uint32("general.alignment", 64); }), invalid);
  EXPECT_EQ(
      code_of([&] { writer.add_tensor("a.q4_0", quant::Type::kQ4_0, {32}, counting_bytes(18)); }),
      invalid);
}

TEST(Writer, RefusesDataThatDoesNotFitTheShape) {
  Writer writer;
  const auto refused = [&writer](const std::vector<int64_t>& shape, size_t num_bytes) {
    return code_of(
        [&] { writer.add_tensor("w", quant::Type::kQ4_0, shape, counting_bytes(num_bytes)); });
  };
  const auto invalid = ErrorCode::kInvalidArgument;
  EXPECT_EQ(refused({32}, 17), invalid);
  EXPECT_EQ(refused({}, 18), invalid);
  EXPECT_EQ(refused({33}, 18), invalid);
  EXPECT_EQ(refused({32, 0}, 0), invalid);
  EXPECT_EQ(refused({32, -1}, 18), invalid);
  EXPECT_EQ(refused({32, 1, 1, 1, 1}, 18), invalid);
  EXPECT_EQ(refused({32, std::numeric_limits<int64_t>::max(), 4}, 18), invalid);
}

TEST(Writer, GivesDeclaredTensorsTheirPlace) {
  const auto values = std::vector<std::byte>(100 * sizeof(float), std::byte{7});
  Writer whole, declared;
  for (Writer* writer : {&whole, &declared}) writer->set_string("general.name", "x");
  whole.add_tensor("first", quant::Type::kF32, {10, 10}, values);
  whole.add_tensor("second", quant::Type::kF32, {100}, values);
  declared.declare_tensor("first", quant::Type::kF32, {10, 10});
  declared.declare_tensor("second", quant::Type::kF32, {100});
  std::vector<std::byte> bytes = declared.bytes();
  EXPECT_EQ(bytes.size(), declared.size_bytes());
  for (const Writer::Place& place : declared.places()) {
    ASSERT_EQ(place.size_bytes, values.size());
    std::copy(values.begin(), values.end(), bytes.begin() + static_cast<ptrdiff_t>(place.offset));
  }
  EXPECT_EQ(bytes, whole.bytes());
}

TEST(Writer, ReportsAFullDisk) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "this system has no /dev/full";
  EXPECT_EQ(code_of([] { sample().save("/dev/full"); }), ErrorCode::kNoSpace);
  EXPECT_TRUE(std::filesystem::exists("/dev/full"));
}

TEST(Writer, RemovesThePartialFileWhenAWriteFails) {
  const std::string path = temporary_path("sluice_partial.gguf");
  struct rlimit old_limit = {};
  getrlimit(RLIMIT_FSIZE, &old_limit);
  struct rlimit low_limit = old_limit;
  low_limit.rlim_cur = 100;  // bytes
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &low_limit);
  const ErrorCode code = code_of([&] { sample().save(path); });
  setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(code, ErrorCode::kIo);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Writer, SaysWhereItCannotWrite) {
  EXPECT_EQ(code_of([] { sample().save("/nonexistent/x.gguf"); }), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace sluice::gguf
