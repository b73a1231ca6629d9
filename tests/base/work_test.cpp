#include "base/work.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"

namespace sluice {
namespace {

using Clock = std::chrono::steady_clock;

std::optional<ErrorCode> code_of(const std::function<void()>& action) {
  try {
    action();
    return std::nullopt;
  } catch (const Error& error) {
    return error.code();
  }
}

TEST(Work, IsUnboundedByDefault) {
  Work work;
  work.charge(Work::kUnlimited - 1);
  work.charge(Work::kUnlimited);  // does not wrap around
  work.check();
  EXPECT_EQ(work.used_bytes(), Work::kUnlimited);
}

TEST(Work, EndsWithTheFirstByteTooMany) {
  Work work(200'000, {});
  for (int i = 0; i < 200'000; ++i) work.charge(1);
  EXPECT_EQ(code_of([&] { work.charge(1); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { work.charge(0); }), ErrorCode::kInvalidArgument);  // and stays ended
  EXPECT_EQ(code_of([&] { work.check(); }), ErrorCode::kInvalidArgument);
  Work huge(1000, {});
  EXPECT_EQ(code_of([&] { huge.charge(Work::kUnlimited); }), ErrorCode::kInvalidArgument);
  Work none(0, {});
  none.charge(0);
  EXPECT_EQ(code_of([&] { none.charge(1); }), ErrorCode::kInvalidArgument);
}

TEST(Work, StopsWithinTheBytesBetweenTwoLooks) {
  std::stop_source source;
  Work work(Work::kUnlimited, source.get_token());
  work.charge(10);
  source.request_stop();
  EXPECT_EQ(code_of([&] { work.charge(Work::kLookEveryBytes); }), ErrorCode::kCancelled);
  EXPECT_EQ(code_of([&] { work.charge(1); }), ErrorCode::kCancelled);
}

TEST(Work, LooksWithTheFirstCharge) {
  std::stop_source source;
  source.request_stop();
  Work work(Work::kUnlimited, source.get_token());
  EXPECT_EQ(code_of([&] { work.charge(1); }), ErrorCode::kCancelled);
}

TEST(Work, EndsWhenItsTimeIsOver) {
  Work late(Work::kUnlimited, {}, Clock::now() - std::chrono::seconds(1));
  EXPECT_EQ(code_of([&] { late.check(); }), ErrorCode::kDeadlineExceeded);
  Work early(Work::kUnlimited, {}, Clock::now() + std::chrono::hours(1));
  early.charge(10 * Work::kLookEveryBytes);
  early.check();
}

}  // namespace
}  // namespace sluice
