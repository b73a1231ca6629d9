#include "store/doctor.h"

#include <algorithm>

#include "base/error.h"
#include "store/partial_blob.h"
#include "store_fixture.h"

namespace sluice::store {
namespace {

using testing::write_text;
namespace fs = std::filesystem;
using Kind = Finding::Kind;

class DoctorTest : public testing::StoreTest {
 protected:
  void add_model(const std::string& name, const std::string& weights) const {
    Manifest manifest;
    manifest.config = add_blob(kConfigType, encode_config(ModelConfig{}));
    manifest.layers = {add_blob(kModelLayer, weights)};
    store().commit(ModelName::parse(name), encode_manifest(manifest));
  }
  fs::path blob(const std::string& content) const {
    return root() / "blobs" / sha256(content).file_name();
  }
  static void make_old(const fs::path& path) {
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(2));
  }
  std::vector<Kind> kinds() const {
    std::vector<Kind> kinds;
    for (const Finding& finding : check_store(store()).findings) kinds.push_back(finding.kind);
    std::sort(kinds.begin(), kinds.end());
    return kinds;
  }
};

TEST_F(DoctorTest, AnEmptyStoreIsSound) {
  EXPECT_TRUE(check_store(store()).is_sound());
  EXPECT_FALSE(fs::exists(root()));
}

TEST_F(DoctorTest, ReadsEveryByteOfASoundStore) {
  add_model("a", "weights");
  add_model("b", "weights");
  add_model("c", "others");
  uint64_t last = 0, total = 0;
  const CheckReport report = check_store(store(), [&](const CheckProgress& progress) {
    EXPECT_GE(progress.completed_bytes, last);
    last = progress.completed_bytes;
    total = progress.total_bytes;
  });
  EXPECT_TRUE(report.is_sound());
  EXPECT_TRUE(report.findings.empty());
  EXPECT_EQ(report.num_models, 3);
  EXPECT_EQ(report.num_blobs, 3);
  EXPECT_EQ(report.checked_bytes, total);
  EXPECT_EQ(last, total);
}

TEST_F(DoctorTest, FindsOneChangedByteAndWhoNeedsIt) {
  add_model("a", "weights");
  add_model("b", "weights");
  add_model("c", "others");
  write_text(blob("weights"), "weightz");
  const CheckReport report = check_store(store());
  EXPECT_FALSE(report.is_sound());
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].kind, Kind::kDamagedBlob);
  EXPECT_EQ(report.findings[0].models, (std::vector<std::string>{"a:latest", "b:latest"}));
  const RepairResult repaired = repair_store(store(), report);
  EXPECT_EQ(repaired.removed, std::vector<std::string>{blob("weights").string()});
  EXPECT_EQ(repaired.incomplete, (std::vector<std::string>{"a:latest", "b:latest"}));
  EXPECT_EQ(kinds(), std::vector<Kind>{Kind::kMissingBlob});
}

TEST_F(DoctorTest, FindsWhatIsMissingUnreadableUnusedAndHalfWritten) {
  add_model("a", "weights");
  add_model("b", "others");
  fs::remove(blob("weights"));
  write_text(root() / "manifests/registry.ollama.ai/library/broken/latest", "{");
  add_blob(kModelLayer, "unused");
  write_text(root() / "blobs/sluice-tmp-abc", "x");
  write_text(root() / "blobs" / (sha256("p").file_name() + "-partial"), "x");
  write_text(root() / "blobs" / (sha256("p").file_name() + "-partial-0"), "x");
  write_text(root() / "blobs/notes.txt", "x");
  EXPECT_EQ(kinds(), (std::vector<Kind>{Kind::kUnreadableManifest, Kind::kMissingBlob,
                                        Kind::kUnusedBlob, Kind::kHalfWritten, Kind::kHalfWritten,
                                        Kind::kHalfWritten, Kind::kForeignFile}));
}

TEST_F(DoctorTest, RepairsWhatOnlyTakesRoomUnlessItIsYoung) {
  add_model("a", "weights");
  add_blob(kModelLayer, "unused");
  write_text(root() / "blobs/sluice-tmp-abc", "x");
  write_text(root() / "blobs/notes.txt", "x");
  EXPECT_TRUE(check_store(store()).is_sound());
  EXPECT_TRUE(repair_store(store(), check_store(store())).removed.empty());
  make_old(blob("unused"));
  make_old(root() / "blobs/sluice-tmp-abc");
  const RepairResult repaired = repair_store(store(), check_store(store()));
  EXPECT_EQ(repaired.removed.size(), 2u);
  EXPECT_EQ(kinds(), std::vector<Kind>{Kind::kForeignFile});
}

TEST_F(DoctorTest, RemovesWhatAPullHasBegunUnlessItStillRuns) {
  const std::string folder = (root() / "blobs").string();
  fs::create_directories(folder);
  auto held = PartialBlob::try_open(folder, sha256("held"), 100);
  PartialBlob::try_open(folder, sha256("left"), 100).reset();
  EXPECT_EQ(repair_store(store(), check_store(store())).removed.size(), 2u);  // it and its notes
  EXPECT_TRUE(fs::exists(held->path()));
  held.reset();
  EXPECT_EQ(repair_store(store(), check_store(store())).removed.size(), 2u);
  EXPECT_TRUE(kinds().empty());
}

TEST_F(DoctorTest, KeepsUnusedBlobsWhileAManifestCannotBeRead) {
  const fs::path broken = root() / "manifests/registry.ollama.ai/library/broken/latest";
  write_text(broken, "{");
  add_blob(kModelLayer, "unused");
  make_old(blob("unused"));
  RepairResult repaired = repair_store(store(), check_store(store()));
  EXPECT_TRUE(repaired.removed.empty());
  EXPECT_EQ(repaired.incomplete, std::vector<std::string>{"broken:latest"});
  write_text(broken, "");  // as a power cut leaves it: nothing can be lost
  repaired = repair_store(store(), check_store(store()));
  EXPECT_EQ(repaired.removed.size(), 2u);
}

TEST_F(DoctorTest, WhatBecameUsedMeanwhileStays) {
  add_blob(kModelLayer, "weights");
  make_old(blob("weights"));
  const CheckReport report = check_store(store());
  ASSERT_EQ(report.findings.size(), 1u);
  const auto old = fs::last_write_time(blob("weights"));
  add_model("a", "weights");
  fs::last_write_time(blob("weights"), old);
  EXPECT_TRUE(repair_store(store(), report).removed.empty());
  EXPECT_NO_THROW(store().get("a"));
}

}  // namespace
}  // namespace sluice::store
