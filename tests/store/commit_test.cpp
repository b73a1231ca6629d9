#include <thread>

#include "base/error.h"
#include "store/blob_writer.h"
#include "store_fixture.h"

namespace sluice::store {
namespace {

using testing::read_text;
namespace fs = std::filesystem;

class CommitTest : public testing::StoreTest {
 protected:
  // The text of a manifest whose blobs are in the store.
  std::string add_model(const std::string& weights) const {
    Manifest manifest;
    manifest.config = add_blob(kConfigType, encode_config(ModelConfig{}));
    manifest.layers = {add_blob(kModelLayer, weights), add_blob(kSystemLayer, "shared")};
    return encode_manifest(manifest);
  }
  std::string blob(const std::string& content) const {
    return "blobs/" + sha256(content).file_name();
  }
};

TEST_F(CommitTest, KeepsTheTextByteForByte) {
  std::string text = add_model("weights");
  text.insert(1, "\n   \"annotations\": {},  ");
  EXPECT_TRUE(store().commit(ModelName::parse("me/x"), text).missing.empty());
  EXPECT_EQ(store().get("me/x").digest, sha256(text));
  EXPECT_EQ(store().read_manifest(ModelName::parse("ME/X")), text);
}

TEST_F(CommitTest, ReplacesAndRemovesWhatOnlyTheOldOneUsed) {
  store().commit(ModelName::parse("x"), add_model("old"));
  const auto result = store().commit(ModelName::parse("X"), add_model("new"));
  EXPECT_EQ(result.removed.num_blobs_removed, 1);
  EXPECT_FALSE(files().contains(blob("old")));
  EXPECT_TRUE(files().contains(blob("new")));
  EXPECT_TRUE(files().contains(blob("shared")));
  EXPECT_EQ(store().list().models.size(), 1u);
}

TEST_F(CommitTest, TellsWhatOthersHaveRemovedAndChangesNothing) {
  store().commit(ModelName::parse("x"), add_model("old"));
  const std::string text = add_model("new");
  fs::remove(root() / blob("new"));
  fs::remove(root() / blob("shared"));
  const auto result = store().commit(ModelName::parse("x"), text);
  ASSERT_EQ(result.missing.size(), 2u);
  EXPECT_EQ(result.missing[0].digest, sha256("new"));
  EXPECT_TRUE(files().contains(blob("old")));
  EXPECT_EQ(store().list().models.at(0).manifest.layers[0].digest, sha256("old"));
}

TEST_F(CommitTest, RefusesWhatIsNoManifest) {
  EXPECT_THROW(store().commit(ModelName::parse("x"), "{}"), Error);
  EXPECT_TRUE(store().list().models.empty());
}

TEST_F(CommitTest, ABlobAppearsOnlyWithItsDigest) {
  const std::string content(3'000'000, 'x');
  BlobWriter writer(store(), sha256(content));
  writer.write(std::as_bytes(std::span(content).first(1000)));
  EXPECT_FALSE(store().has_blob(sha256(content), content.size()));
  writer.write(std::as_bytes(std::span(content).subspan(1000)));
  writer.commit();
  EXPECT_TRUE(store().has_blob(sha256(content), content.size()));
  EXPECT_EQ(read_text(root() / blob(content)), content);

  BlobWriter wrong(store(), sha256("a"));
  wrong.write(std::as_bytes(std::span("b", 1)));
  try {
    wrong.commit();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.what(),
              "digest mismatch, expected " + sha256("a").text() + ", got " + sha256("b").text());
  }
}

TEST_F(CommitTest, AWriterThatIsLeftLeavesNothing) {
  {
    BlobWriter writer(store(), sha256("abc"));
    writer.write(std::as_bytes(std::span("ab", 2)));
  }
  EXPECT_TRUE(files().empty());
}

TEST_F(CommitTest, NoRoomIsToldBeforeTheFirstByte) {
  try {
    BlobWriter(store(), sha256("abc"), uint64_t{1} << 60);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNoSpace);
    EXPECT_NE(std::string(error.what()).find("needed"), std::string::npos);
  }
}

// Whoever changes the store meanwhile, each name is whole or not there.
TEST_F(CommitTest, ManyWritersLoseNothing) {
  constexpr int kRounds = 8;
  std::vector<std::thread> writers;
  for (int id = 0; id < 4; ++id) {
    writers.emplace_back([&, id] {
      const ModelName name = ModelName::parse("m" + std::to_string(id % 2));
      for (int round = 0; round < kRounds; ++round) {
        try {
          std::string text = add_model("weights");
          while (!store().commit(name, text).missing.empty()) text = add_model("weights");
          store().copy(name, ModelName::parse("copy" + std::to_string(id)));
          store().remove(name);
        } catch (const Error& error) {
          ASSERT_EQ(error.code(), ErrorCode::kNotFound) << error.what();  // the other was faster
        }
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  const ModelList list = store().list();
  EXPECT_TRUE(list.problems.empty());
  for (const ModelRecord& record : list.models) {
    EXPECT_NO_THROW(store().get(record.name.short_name()));
  }
}

}  // namespace
}  // namespace sluice::store
