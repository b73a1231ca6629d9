#include "server/response_store.h"

#include <gtest/gtest.h>

namespace sluice::server {
namespace {

using api::openai::KeptResponse;
using namespace std::chrono_literals;

ResponseStore::Clock::time_point test_now{1h};
ResponseStore::Clock::time_point now_of_test() { return test_now; }

KeptResponse make(const std::string& id, size_t size = 100) {
  KeptResponse response;
  response.id = id;
  response.body = std::string(size, 'x');
  return response;
}

TEST(ResponseStore, GivesBackWhatWasKept) {
  ResponseStore store;
  store.keep("ann", make("a"));
  ASSERT_TRUE(store.find("ann", "a"));
  EXPECT_EQ(store.find("ann", "a")->body.size(), 100u);
  EXPECT_FALSE(store.find("ann", "b"));
  EXPECT_TRUE(store.remove("ann", "a"));
  EXPECT_FALSE(store.remove("ann", "a"));
  EXPECT_FALSE(store.find("ann", "a"));
}

TEST(ResponseStore, OthersSeeNothing) {
  ResponseStore store;
  store.keep("ann", make("a"));
  EXPECT_FALSE(store.find("bob", "a"));
  EXPECT_FALSE(store.find("", "a"));
  EXPECT_FALSE(store.remove("bob", "a"));
  EXPECT_TRUE(store.find("ann", "a"));
}

TEST(ResponseStore, DropsTheLongestUnusedFirst) {
  ResponseStore store(10'000);
  store.keep("", make("a", 3000));
  store.keep("", make("b", 3000));
  EXPECT_TRUE(store.find("", "a"));
  store.keep("", make("c", 4000));
  EXPECT_TRUE(store.find("", "a"));
  EXPECT_FALSE(store.find("", "b"));
  EXPECT_TRUE(store.find("", "c"));
  store.keep("", make("huge", 20'000));
  EXPECT_FALSE(store.find("", "huge"));
  EXPECT_TRUE(store.find("", "c"));
}

TEST(ResponseStore, KeepsThemForADayBehindTheirUse) {
  ResponseStore store(10'000, now_of_test);
  store.keep("", make("a"));
  store.keep("", make("b"));
  test_now += 23h;
  EXPECT_TRUE(store.find("", "a"));
  test_now += 2h;
  EXPECT_TRUE(store.find("", "a"));
  EXPECT_FALSE(store.find("", "b"));
}

TEST(ResponseStore, WhoHasOneMayUseItWhenItIsGone) {
  ResponseStore store(2000);
  store.keep("", make("a"));
  const auto held = store.find("", "a");
  for (int i = 0; i < 100; ++i) store.keep("", make(std::to_string(i)));
  EXPECT_FALSE(store.find("", "a"));
  EXPECT_EQ(held->id, "a");
}

}  // namespace
}  // namespace sluice::server
