#include "monitor/arrange.h"

#include <gtest/gtest.h>

#include "monitor/example_view.h"

namespace sluice::monitor {
namespace {

std::vector<uint64_t> ids(const Arrangement& arrangement) {
  View view = example_view();
  ServerSample& server = view.now.server;
  server.requests[0].mean_token_time = std::chrono::milliseconds(20);
  server.requests[0].time_to_first_token = std::chrono::milliseconds(90);
  server.requests[1].mean_token_time = std::chrono::milliseconds(30);
  server.requests[1].time_to_first_token = std::chrono::milliseconds(400);
  server.requests[2].client = "Ann";
  server.requests[3].model = "big:70b";
  arrange(arrangement, server);
  std::vector<uint64_t> shown;
  for (const RequestSample& request : server.requests) shown.push_back(request.id);
  return shown;
}

TEST(Arrange, SortsByEachKey) {
  using Ids = std::vector<uint64_t>;
  EXPECT_EQ(ids({}), (Ids{17, 18, 19, 20}));
  EXPECT_EQ(ids({.sort_key = SortKey::kAge}), (Ids{19, 17, 18, 20}));
  EXPECT_EQ(ids({.sort_key = SortKey::kReply}), (Ids{17, 18, 19, 20}));
  EXPECT_EQ(ids({.sort_key = SortKey::kSpeed}), (Ids{18, 17, 19, 20}));
  EXPECT_EQ(ids({.sort_key = SortKey::kTtft}), (Ids{18, 17, 19, 20}));
}

TEST(Arrange, FiltersByClientModelAndNumber) {
  using Ids = std::vector<uint64_t>;
  EXPECT_EQ(ids({.filter = "ann"}), Ids{19});
  EXPECT_EQ(ids({.filter = "BIG"}), Ids{20});
  EXPECT_EQ(ids({.filter = "18"}), Ids{18});
  EXPECT_EQ(ids({.filter = "nobody"}), Ids{});
  EXPECT_EQ(ids({.filter = "8"}), Ids{});
}

TEST(Arrange, KeysHaveNamesAndFollowEachOther) {
  SortKey key = SortKey::kQueue;
  for (const std::string& name : sort_key_names()) {
    EXPECT_EQ(sort_key_name(key), name);
    EXPECT_EQ(sort_key_of(name), key);
    key = next_sort_key(key);
  }
  EXPECT_EQ(key, SortKey::kQueue);
  EXPECT_EQ(sort_key_of("x"), SortKey::kQueue);
}

}  // namespace
}  // namespace sluice::monitor
