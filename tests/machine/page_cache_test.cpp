#include "machine/page_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace sluice::machine {
namespace {

void write_zeros(const std::string& path, size_t size) {
  std::ofstream(path, std::ios::binary) << std::string(size, '\1');
}

// Out of the cache, as far as the file system lets go of it.
void drop(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY);
  ::fsync(file);
  ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  ::close(file);
}

TEST(PageCache, TellsWhatIsInMemory) {
  const std::string path = testing::TempDir() + "/sluice_page_cache";
  for (const size_t size : {size_t{1}, size_t{4096 * 64 + 1}, size_t{80} << 20}) {
    write_zeros(path, size);
    EXPECT_EQ(page_cache_share(path), 1.0) << size;
  }
  drop(path);
  const double left = page_cache_share(path).value_or(-1);
  if (left > 0.5) GTEST_SKIP() << "this file system keeps its pages";
  EXPECT_LT(left, 0.1);
  // Half of it read: the share is of the whole file, also where only parts are looked at. The
  // kernel reads ahead, and may have kept some.
  std::ifstream file(path, std::ios::binary);
  std::string half(size_t{40} << 20, ' ');
  file.read(half.data(), static_cast<std::streamsize>(half.size()));
  EXPECT_NEAR(page_cache_share(path).value_or(-1), 0.6, 0.2);
  std::filesystem::remove(path);
}

TEST(PageCache, NothingOfWhatIsNoFile) {
  const std::string path = testing::TempDir() + "/sluice_page_cache_empty";
  write_zeros(path, 0);
  for (const std::string& other : {path, std::string("/nonexistent"), std::string("/tmp"),
                                   std::string("/dev/null"), std::string("/proc/self/stat")}) {
    EXPECT_EQ(page_cache_share(other), std::nullopt) << other;
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace sluice::machine
