#include "base/mapped_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace sluice {
namespace {

class MappedFileTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = (std::filesystem::path(testing::TempDir()) / "sluice_mapped_file_test").string();
    std::ofstream(path_) << "hello";
  }
  void TearDown() override { std::filesystem::remove(path_); }

  std::string path_;
};

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

ErrorCode code_of_opening(const std::string& path) {
  try {
    const MappedFile file(path);
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << path << " was mapped";
  return ErrorCode::kInternal;
}

TEST_F(MappedFileTest, ShowsTheFilesBytes) {
  const MappedFile file(path_);
  EXPECT_EQ(text_of(file), "hello");
  EXPECT_EQ(file.path(), path_);
}

TEST_F(MappedFileTest, KeepsItsBytesWhenMovedAndWhenTheFileIsRemoved) {
  MappedFile first(path_);
  const std::byte* address = first.bytes().data();
  MappedFile second(std::move(first));
  MappedFile third;
  third = std::move(second);
  std::filesystem::remove(path_);
  EXPECT_EQ(third.bytes().data(), address);
  EXPECT_EQ(text_of(third), "hello");
}

TEST_F(MappedFileTest, RefusesWhatIsNoFileWithBytes) {
  EXPECT_EQ(code_of_opening(path_ + ".missing"), ErrorCode::kNotFound);
  EXPECT_EQ(code_of_opening("/tmp"), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of_opening("/dev/null"), ErrorCode::kInvalidArgument);
  std::ofstream(path_, std::ios::trunc).flush();
  EXPECT_EQ(code_of_opening(path_), ErrorCode::kCorruptData);
}

}  // namespace
}  // namespace sluice
