#include "store/sha256.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "store_fixture.h"

namespace sluice::store {
namespace {

// Test vectors: FIPS 180-2, appendix B.
TEST(Sha256, MatchesTheStandardsVectors) {
  EXPECT_EQ(sha256("").hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc").hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 hash;
  for (int i = 0; i < 1000; ++i) hash.update(std::string(1000, 'a'));
  EXPECT_EQ(hash.finish().hex(),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Digest, ReadsBothSpellings) {
  const std::string hex(64, 'a');
  for (const std::string& text : {"sha256:" + hex, "sha256-" + hex}) {
    const auto digest = Digest::parse(text);
    ASSERT_TRUE(digest);
    EXPECT_EQ(digest->text(), "sha256:" + hex);
    EXPECT_EQ(digest->file_name(), "sha256-" + hex);
    EXPECT_EQ(digest->short_id(), "aaaaaaaaaaaa");
  }
}

TEST(Digest, RefusesEverythingElse) {
  const std::string hex(64, 'a');
  for (const std::string& text : {
           std::string(),
           hex,
           "sha256:" + hex.substr(1),
           "sha256:" + hex + "a",
           "sha256:" + std::string(64, 'A'),
           "sha256:" + std::string(64, 'g'),
           "SHA256:" + hex,
           "sha512:" + hex,
           "sha1:" + hex,
           "sha256_" + hex,
           std::string("sha256:../../etc/passwd"),
           "sha256:../../" + std::string(58, 'a'),
           "sha256:" + std::string(63, 'a') + "/",
           "sha256:" + std::string(63, 'a') + std::string(1, '\0'),
           " sha256:" + std::string(63, 'a'),
       }) {
    EXPECT_FALSE(Digest::parse(text)) << text;
  }
  EXPECT_THROW(Digest::parse_or_throw("x"), Error);
}

class Sha256File : public testing::StoreTest {};

TEST_F(Sha256File, AgreesWithTheTextInMemory) {
  const std::string text(10'000'000, 'x');
  testing::write_text(folder_ / "file", text);
  uint64_t reported = 0;
  EXPECT_EQ(sha256_file((folder_ / "file").string(), [&](uint64_t bytes) { reported = bytes; }),
            sha256(text));
  EXPECT_EQ(reported, text.size());
  EXPECT_THROW(sha256_file((folder_ / "missing").string()), Error);
  EXPECT_THROW(sha256_file(folder_.string()), Error);
}

}  // namespace
}  // namespace sluice::store
