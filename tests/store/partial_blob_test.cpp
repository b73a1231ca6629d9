#include "store/partial_blob.h"

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <random>

#include "base/error.h"
#include "store/files.h"
#include "store_fixture.h"

namespace sluice::store {
namespace {

using testing::read_text;
using testing::write_text;
namespace fs = std::filesystem;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string random_text(size_t size, unsigned seed = 7) {
  std::mt19937 random(seed);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

class PartialBlobTest : public testing::StoreTest {
 protected:
  PartialBlobTest() { fs::create_directories(folder()); }
  std::string folder() const { return (root() / "blobs").string(); }
  std::unique_ptr<PartialBlob> open() {
    return PartialBlob::try_open(folder(), key_, text_.size());
  }
  void write(PartialBlob& blob, size_t from, size_t to) const {
    blob.write(from, bytes_of(std::string_view(text_).substr(from, to - from)));
  }

  // Four chunks: of a MiB, the last one shorter.
  std::string text_ = random_text((size_t{3} << 20) + 1000);
  Digest key_ = sha256(text_);
};

TEST_F(PartialBlobTest, TakesBytesInAnyOrderAndHashesThem) {
  const auto blob = open();
  ASSERT_EQ(blob->num_chunks(), 4u);
  EXPECT_EQ(blob->chunk(3).size_bytes, 1000u);
  write(*blob, size_t{3} << 20, text_.size());
  EXPECT_EQ(blob->hash_available(UINT64_MAX), 0u);
  write(*blob, 0, 100);
  EXPECT_EQ(blob->hash_available(UINT64_MAX), 100u);
  write(*blob, size_t{2} << 20, size_t{3} << 20);
  write(*blob, 100, size_t{2} << 20);  // over a chunk's end
  EXPECT_TRUE(blob->is_complete());
  while (blob->hash_available(100'000) > 0) {
  }
  EXPECT_EQ(blob->finish_digest(), key_);
  blob->sync();
  const std::string place = folder() + "/" + key_.file_name();
  blob->commit(place);
  EXPECT_EQ(read_text(place), text_);
  EXPECT_EQ(files(), std::set<std::string>{"blobs/" + key_.file_name()});
}

TEST_F(PartialBlobTest, PassesOverWhatIsThereAndRefusesHoles) {
  const auto blob = open();
  write(*blob, 0, 1000);
  write(*blob, 500, 2000);
  EXPECT_EQ(blob->completed_bytes(), 2000u);
  write(*blob, 0, 100);
  EXPECT_EQ(blob->completed_bytes(), 2000u);
  EXPECT_THROW(write(*blob, 2001, 2100), Error);
  EXPECT_THROW(blob->write(text_.size() - 1, bytes_of("ab")), Error);
  EXPECT_THROW(blob->write(UINT64_MAX, bytes_of("ab")), Error);
}

TEST_F(PartialBlobTest, GoesOnAfterTheProgramWasKilledAtAnyByte) {
  std::mt19937 random(11);
  for (int kill = 0; kill < 20; ++kill) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto blob = open();
      for (size_t chunk = 0; chunk < blob->num_chunks(); ++chunk) {
        const auto at = blob->chunk(chunk);
        const size_t from = at.offset + at.completed_bytes;
        const size_t count =
            std::min<size_t>(random() % 100'000, at.size_bytes - at.completed_bytes);
        write(*blob, from, from + count);
      }
      ::kill(::getpid(), SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    random.discard(4);
  }
  EXPECT_GT(PartialBlob::look_up_completed(folder(), key_, text_.size()), 1'000'000u);
  const auto blob = open();
  EXPECT_GT(blob->completed_bytes(), 1'000'000u);
  for (size_t chunk = 0; chunk < blob->num_chunks(); ++chunk) {
    const auto at = blob->chunk(chunk);
    write(*blob, at.offset + at.completed_bytes, at.offset + at.size_bytes);
  }
  while (blob->hash_available(UINT64_MAX) > 0) {
  }
  EXPECT_EQ(blob->finish_digest(), key_);
}

TEST_F(PartialBlobTest, IsHeldByOneAtATime) {
  auto blob = open();
  EXPECT_EQ(open(), nullptr);
  write(*blob, 0, 4096);
  EXPECT_EQ(PartialBlob::look_up_completed(folder(), key_, text_.size()), 4096u);
  blob.reset();
  blob = open();
  ASSERT_NE(blob, nullptr);
  EXPECT_EQ(blob->completed_bytes(), 4096u);
}

TEST_F(PartialBlobTest, BeginsAnewWhenItsNotesMakeNoSense) {
  const std::string notes =
      PartialBlob::path_of(folder(), key_) + std::string(PartialBlob::kNotesSuffix);
  const auto begin = [&] {
    fs::remove(notes);
    write(*open(), 0, 5000);
  };
  begin();
  const std::string good = read_text(notes);
  EXPECT_EQ(open()->completed_bytes(), 5000u);
  for (size_t size = 0; size < good.size(); ++size) {
    begin();
    write_text(notes, good.substr(0, size));
    EXPECT_EQ(open()->completed_bytes(), 0u) << size;
  }
  for (size_t at = 0; at + 8 <= good.size(); at += 8) {
    begin();
    std::string bad = good;
    bad.replace(at, 8, 8, '\xff');
    write_text(notes, bad);
    EXPECT_EQ(open()->completed_bytes(), 0u) << at;
  }
  begin();
  EXPECT_EQ(PartialBlob::try_open(folder(), key_, text_.size() + 1)->completed_bytes(), 0u);
}

TEST_F(PartialBlobTest, HugeSizesTakeNoMemoryAndNoRoom) {
  const auto blob = PartialBlob::try_open(folder(), key_, uint64_t{1} << 42);
  EXPECT_LE(blob->num_chunks(), 65'536u);
  EXPECT_THROW(PartialBlob::try_open(folder(), sha256("x"), uint64_t{1} << 63), Error);
}

TEST_F(PartialBlobTest, AnEmptyOneIsCompleteAtOnce) {
  const auto blob = PartialBlob::try_open(folder(), sha256(""), 0);
  EXPECT_TRUE(blob->is_complete());
  EXPECT_EQ(blob->finish_digest(), sha256(""));
}

TEST_F(PartialBlobTest, StaleOnesGoButNotThoseThatAreHeld) {
  auto blob = open();
  write(*blob, 0, 100);
  EXPECT_EQ(PartialBlob::remove_stale(folder(), 0), 0);
  blob.reset();
  EXPECT_EQ(PartialBlob::remove_stale(folder(), 3600), 0);
  EXPECT_EQ(files().size(), 2u);
  EXPECT_EQ(PartialBlob::remove_stale(folder(), 0), 1);
  EXPECT_TRUE(files().empty());
  write_text(PartialBlob::path_of(folder(), key_) + std::string(PartialBlob::kNotesSuffix), "x");
  PartialBlob::remove_stale(folder(), 0);  // notes without a file
  EXPECT_TRUE(files().empty());
}

// At a turn of the second time() still tells the old one: 5 ms of each second.
TEST_F(PartialBlobTest, AFileIsNeverYoungerThanNow) {
  const std::string path = folder() + "/stamped";
  const auto start = std::chrono::steady_clock::now();
  do {
    write_text(path, "x");
    const auto age = age_of(path);
    ASSERT_TRUE(age);
    EXPECT_GE(age->count(), 0);
  } while (std::chrono::steady_clock::now() - start < std::chrono::milliseconds(1100));
  EXPECT_FALSE(age_of(folder() + "/nothing"));
}

}  // namespace
}  // namespace sluice::store
