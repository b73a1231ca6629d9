#include "server/content_encoding.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "server/packed_body.h"

namespace sluice::server {
namespace {

std::string unpacked(const std::string& packed, size_t max_bytes = 1 << 20) {
  Work work;
  return unpack_zstd(packed, max_bytes, work);
}

std::string unpack_failure(const std::string& packed, size_t max_bytes = 1 << 20) {
  try {
    unpacked(packed, max_bytes);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "no failure";
}

TEST(UnpackZstd, GivesWhatWasPacked) {
  for (const size_t size : {0, 1, 1000, 700'000}) {
    std::string text;
    for (size_t i = 0; i < size; ++i) text += static_cast<char>('a' + i * i % 23);
    EXPECT_EQ(unpacked(test::packed_with_zstd(text)), text);
  }
}

TEST(UnpackZstd, EndsWhereABodyMayHaveNoMore) {
  const std::string bomb = test::packed_with_zstd(std::string(50 << 20, ' '));
  ASSERT_LT(bomb.size(), 10'000u);
  EXPECT_EQ(unpack_failure(bomb),
            "the body cannot be unpacked: it becomes larger than the 1048576 bytes that a body may "
            "have");
  Work work(1 << 20, {});
  EXPECT_THROW(unpack_zstd(bomb, size_t{1} << 30, work), Error);
}

TEST(UnpackZstd, RefusesWhatIsCutDamagedOrNoZstd) {
  const std::string packed = test::packed_with_zstd(std::string(5000, 'x') + "y");
  for (const std::string& text : {std::string("{}"), std::string("\x1f\x8b\x08"), std::string()}) {
    EXPECT_EQ(unpack_failure(text),
              "the body cannot be unpacked: it is no zstd, cut short or damaged");
  }
  for (size_t size = 5; size < packed.size(); ++size) {
    EXPECT_NE(unpack_failure(packed.substr(0, size)), "no failure") << size;
  }
}

TEST(ContentEncodings, ThatAreTaken) {
  for (const char* name : {"", "identity", "zstd", "ZSTD"}) EXPECT_TRUE(is_known_encoding(name));
  for (const char* name : {"gzip", "deflate", "br", "zstd, zstd", "x"}) {
    EXPECT_FALSE(is_known_encoding(name));
  }
}

}  // namespace
}  // namespace sluice::server
