#include "base/input_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "base/byte_range.h"
#include "base/error.h"
#include "thrown.h"

namespace sluice {
namespace {

using test::code_of;

namespace fs = std::filesystem;
using testing::HasSubstr;

class InputFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / "sluice_input_file_test";
    fs::create_directories(folder_);
    path_ = (folder_ / "file").string();
    std::ofstream(path_) << "hello, world";
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path folder_;
  std::string path_;
};

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST_F(InputFileTest, ReadsFromAnyPlace) {
  const InputFile file(path_);
  EXPECT_EQ(file.size_bytes(), 12u);
  std::array<std::byte, 5> bytes;
  file.read(7, bytes);
  EXPECT_EQ(text_of(bytes), "world");
  file.read(0, bytes);
  EXPECT_EQ(text_of(bytes), "hello");
  EXPECT_EQ(file.read_some(12, bytes), 0u);
  EXPECT_NO_THROW(file.check_unchanged());
}

TEST_F(InputFileTest, AFileCutShortMeanwhileIsAnError) {
  const InputFile file(path_);
  fs::resize_file(path_, 3);
  std::array<std::byte, 5> bytes;
  EXPECT_EQ(code_of([&] { file.read(0, bytes); }), ErrorCode::kCorruptData);
  EXPECT_EQ(code_of([&] { file.check_unchanged(); }), ErrorCode::kCorruptData);
}

TEST_F(InputFileTest, AFileWrittenToMeanwhileIsNoticed) {
  const InputFile file(path_);
  fs::last_write_time(path_, fs::last_write_time(path_) + std::chrono::seconds(1));
  EXPECT_EQ(code_of([&] { file.check_unchanged(); }), ErrorCode::kCorruptData);
}

TEST_F(InputFileTest, ARemovedFileCanStillBeRead) {
  const InputFile file(path_);
  fs::remove(path_);
  std::array<std::byte, 5> bytes;
  file.read(0, bytes);
  EXPECT_EQ(text_of(bytes), "hello");
  EXPECT_NO_THROW(file.check_unchanged());
}

TEST_F(InputFileTest, RefusesAtOnceWhatIsNoRegularFile) {
  const std::string pipe = (folder_ / "pipe").string();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const std::string& path : {pipe, folder_.string(), std::string("/dev/zero")}) {
    EXPECT_EQ(code_of([&] { const InputFile file(path); }), ErrorCode::kInvalidArgument) << path;
    EXPECT_EQ(code_of([&] { read_small_file(path, 10); }), ErrorCode::kInvalidArgument) << path;
  }
  EXPECT_EQ(code_of([&] { const InputFile file(path_ + ".missing"); }), ErrorCode::kNotFound);
}

TEST_F(InputFileTest, SmallFilesAreReadWholeUpToABound) {
  EXPECT_EQ(read_small_file(path_, 12), "hello, world");
  EXPECT_EQ(code_of([&] { read_small_file(path_, 11); }), ErrorCode::kCorruptData);
}

TEST_F(InputFileTest, RangesOfFilesAndOfMemoryAreAlike) {
  const InputFile file(path_);
  const std::vector<std::byte> memory = ByteRange(file).read();
  for (const ByteRange& whole : {ByteRange(file), ByteRange(memory)}) {
    EXPECT_EQ(text_of(whole.read()), "hello, world");
    const ByteRange part = whole.part(3, 8).part(1, 5);
    EXPECT_EQ(part.size(), 5u);
    EXPECT_EQ(text_of(part.read()), "o, wo");
    std::array<std::byte, 2> bytes;
    part.read(3, bytes);
    EXPECT_EQ(text_of(bytes), "wo");
  }
  EXPECT_TRUE(ByteRange(file).memory().empty());
  EXPECT_EQ(ByteRange(memory).part(2, 3).memory().data(), memory.data() + 2);
}

}  // namespace
}  // namespace sluice
