#include "base/error.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace sluice {
namespace {

TEST(IoError, NamesActionPathAndReason) {
  const Error error = io_error("cannot open", "/models/a.gguf", EACCES);
  EXPECT_EQ(error.code(), ErrorCode::kIo);
  EXPECT_STREQ(error.what(), "cannot open /models/a.gguf: Permission denied");
}

TEST(IoError, KnowsTheKindsThatCallersHandle) {
  EXPECT_EQ(io_error("cannot open", "a", ENOENT).code(), ErrorCode::kNotFound);
  EXPECT_EQ(io_error("cannot write", "a", ENOSPC).code(), ErrorCode::kNoSpace);
  EXPECT_EQ(io_error("cannot write", "a", EDQUOT).code(), ErrorCode::kNoSpace);
}

}  // namespace
}  // namespace sluice
