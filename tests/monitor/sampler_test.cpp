#include "monitor/sampler.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "http/scripted_server.h"

namespace sluice::monitor {
namespace {

TEST(SnapshotSampler, ShowsTheProcessBehindThePortOfAServerThatDoesNotTell) {
  test::ScriptedServer server([](test::ScriptedConnection& connection) {
    test::ScriptedRequest request;
    while (connection.read_request(request)) {
      if (request.target == "/api/sluice/status") {
        connection.reply(404, "404 page not found");
      } else {
        connection.reply(200, R"({"models":[],"version":"0.17.7"})");
      }
    }
  });
  SnapshotSampler sampler(http::parse_url(server.url()));
  EXPECT_TRUE(sampler.is_local());
  const Snapshot snapshot = sampler.take();
  EXPECT_EQ(snapshot.server.kind, ServerKind::kOllama);
  ASSERT_TRUE(snapshot.process.has_value());
  EXPECT_EQ(snapshot.process->pid, ::getpid());
  EXPECT_FALSE(snapshot.machine.cpu.cores.empty());
}

TEST(SnapshotSampler, ShowsTheMachineWithoutAServer) {
  SnapshotSampler sampler(http::parse_url("127.0.0.1:1"));
  const Snapshot snapshot = sampler.take();
  EXPECT_EQ(snapshot.server.kind, ServerKind::kNone);
  EXPECT_FALSE(snapshot.process.has_value());
  EXPECT_FALSE(snapshot.machine.cpu.cores.empty());
}

TEST(SnapshotSampler, KnowsAServerElsewhere) {
  EXPECT_FALSE(SnapshotSampler(http::parse_url("192.0.2.7:11434")).is_local());
  EXPECT_TRUE(SnapshotSampler(http::parse_url("[::1]:11434")).is_local());
}

}  // namespace
}  // namespace sluice::monitor
