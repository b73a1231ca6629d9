// What becomes of a server's threads when there is no memory at the wrong moment.

#include <gtest/gtest.h>

#include "memory_faults.h"
#include "server/fake_loaded_model.h"
#include "server/http_server.h"
#include "server/model_manager.h"
#include "server/raw_client.h"

namespace sluice::server {
namespace {

using test::eventually;
using test::fake_record;
using test::get;
using test::MemoryFaults;
using test::post;
using test::RawClient;

// Whatever fails behind a load, or before the next: who waits is told, and the loader goes on.
TEST(NoMemory, EndsNoLoaderAndLeavesNobodyWaiting) {
  int num_without_lease = 0;
  for (int num_good = 0; num_good < 40; ++num_good) {
    test::FakeBehaviour behaviour;
    std::atomic<bool> is_load_held = true;
    std::atomic<int> num_leases = 0;
    std::atomic<int> num_failures = 0;
    ModelManager manager({},
                         [&](const store::ModelRecord&, const LoadBudget&, const LoadProgress&) {
                           while (is_load_held)
                             std::this_thread::sleep_for(std::chrono::milliseconds(1));
                           auto model = test::FakeLoadedModel::make(behaviour);
                           if (behaviour.num_loads == 1) {
                             test::memory_faults = {.num_good = num_good, .num_failures = 2};
                           }
                           return model;
                         });
    const auto count = [&](Lease lease, const Failure* failure) {
      EXPECT_NE(bool{lease}, failure != nullptr);
      ++(lease ? num_leases : num_failures);
    };
    for (int i = 0; i < 3; ++i) manager.acquire(fake_record("a:1"), std::nullopt, count);
    is_load_held = false;
    ASSERT_TRUE(eventually([&] { return num_leases + num_failures == 3; })) << num_good;
    num_without_lease += num_failures;
    manager.acquire(fake_record("b:1"), std::nullopt, count);
    ASSERT_TRUE(eventually([&] { return num_leases + num_failures == 4; })) << num_good;
  }
  EXPECT_GT(num_without_lease, 0);
}

// A part of the next request that could not be kept: there is no next request.
TEST(NoMemory, LosesNoPartOfAPipelinedRequestUnnoticed) {
  HttpServer server(
      {}, [](const HttpRequest&) { return Caller{}; },
      [](Exchange& exchange) -> Awaitable<void> {
        test::memory_faults = {
            .num_good = 0, .num_failures = MemoryFaults::kAll, .least_bytes = 4096};
        while (test::memory_faults.num_failures == MemoryFaults::kAll) co_await exchange.pause();
        test::memory_faults = {};
        Reply reply{200, "text/plain", "answered", {}};
        co_await exchange.respond(std::move(reply));
      });
  server.start();
  RawClient client(server.port());
  client.send(get("/first"));
  ASSERT_TRUE(eventually([&] { return server.num_requests() == 1; }));
  client.send(post("/second", std::string(6000, 'x')));
  const std::string reply = client.receive();
  EXPECT_NE(reply.find("answered"), std::string::npos);
  EXPECT_NE(reply.find("Connection: close"), std::string::npos) << reply;
  EXPECT_EQ(reply.find("HTTP/1.1 ", 1), std::string::npos) << reply;
}

}  // namespace
}  // namespace sluice::server
