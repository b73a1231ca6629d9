#include "store/archive.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "store_fixture.h"

namespace sluice::store {
namespace {

using ::testing::HasSubstr;
using testing::read_text;
using testing::write_gguf;
using testing::write_text;
namespace fs = std::filesystem;

class ArchiveTest : public testing::StoreTest {
 protected:
  // A model in the store, exported; the file's path.
  std::string make_archive() {
    Store store = this->store();
    store.import_gguf(write_gguf(folder_ / "m.gguf", "salt", 100'000), ModelName::parse("mine:7b"));
    const std::string path = (folder_ / "mine.tar").string();
    export_model(store, ModelName::parse("mine:7b"), path);
    return path;
  }
  Store other_store() const { return Store((folder_ / "other").string()); }
  std::string import_failure(const std::string& path) {
    Store other = other_store();
    try {
      import_archive(other, path, ModelName::parse("x"));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruptData);
      EXPECT_TRUE(other.list().models.empty());
      return error.what();
    }
    return "it did not fail";
  }
};

TEST_F(ArchiveTest, BringsAModelToAnotherStore) {
  const std::string path = make_archive();
  ASSERT_TRUE(is_archive(path));
  EXPECT_FALSE(is_archive((folder_ / "m.gguf").string()));
  Store other = other_store();
  EXPECT_EQ(import_archive(other, path, std::nullopt).short_name(), "mine:7b");
  const ModelRecord before = store().get("mine:7b"), after = other.get("mine:7b");
  EXPECT_EQ(after.digest, before.digest);
  EXPECT_EQ(read_text(after.model_path), read_text(before.model_path));
  import_archive(other, path, ModelName::parse("again"));
  EXPECT_EQ(other.list().models.size(), 2u);
}

TEST_F(ArchiveTest, IsTheSameEachTime) {
  const std::string first = read_text(make_archive());
  EXPECT_EQ(read_text(make_archive()), first);
}

TEST_F(ArchiveTest, TellsProgressUpToAllOfIt) {
  const std::string path = make_archive();
  uint64_t last = 0, whole = 1;
  Store other = other_store();
  import_archive(other, path, std::nullopt, [&](uint64_t completed, uint64_t total) {
    EXPECT_GE(completed, last);
    last = completed;
    whole = total;
  });
  EXPECT_EQ(last, whole);
}

TEST_F(ArchiveTest, ExportsNoDamagedBlob) {
  Store store = this->store();
  const auto record =
      store.import_gguf(write_gguf(folder_ / "m.gguf", "salt", 1000), ModelName::parse("mine"));
  std::string text = read_text(record.model_path);
  text.back() ^= 1;
  write_text(record.model_path, text);
  EXPECT_THROW(export_model(store, record.name, (folder_ / "x.tar").string()), Error);
  EXPECT_FALSE(fs::exists(folder_ / "x.tar"));
  for (const auto& entry : fs::directory_iterator(folder_)) {
    EXPECT_FALSE(entry.path().filename().string().starts_with("sluice-tmp"));
  }
}

TEST_F(ArchiveTest, RefusesWhatIsCutOrChanged) {
  const std::string path = make_archive();
  const std::string good = read_text(path);
  for (size_t size : {size_t{0}, size_t{100}, size_t{512}, size_t{5000}, good.size() / 2}) {
    write_text(path, good.substr(0, size));
    EXPECT_NE(import_failure(path), "it did not fail") << size;
  }
  std::string bad = good;
  bad[bad.find("\"digest\"") + 20] ^= 1;
  write_text(path, bad);
  EXPECT_THAT(import_failure(path), HasSubstr("manifest is missing"));
  EXPECT_THAT(import_failure((folder_ / "m.gguf").string()), HasSubstr("no exported model"));
}

TEST_F(ArchiveTest, RefusesABlobThatIsNotWhatItSays) {
  const std::string path = make_archive();
  std::string text = read_text(path);
  text[text.find("token_embd") + 2000] ^= 1;
  write_text(path, text);
  Store other = other_store();
  EXPECT_THROW(import_archive(other, path, std::nullopt), Error);
  EXPECT_TRUE(other.list().models.empty());
}

}  // namespace
}  // namespace sluice::store
