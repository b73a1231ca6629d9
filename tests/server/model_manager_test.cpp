#include "server/model_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <mutex>

#include "server/fake_loaded_model.h"
#include "server/raw_client.h"

namespace sluice::server {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::fake_record;

class ModelManagerTest : public testing::Test {
 protected:
  ModelManager make(ManagerOptions options = {}) {
    return ModelManager(options, [this](const store::ModelRecord&, const LoadBudget&,
                                        const LoadProgress& progress) {
      progress(0.5);
      return test::FakeLoadedModel::make(behaviour_);
    });
  }

  // Waits for the lease; throws the error.
  static Lease acquire(ModelManager& manager, const std::string& name,
                       std::optional<api::KeepAlive> keep_alive = std::nullopt) {
    std::mutex mutex;
    std::condition_variable ready;
    bool is_done = false;
    Lease result;
    std::optional<Failure> fault;
    manager.acquire(fake_record(name), keep_alive, [&](Lease lease, const Failure* failure) {
      std::lock_guard lock(mutex);
      result = std::move(lease);
      if (failure) fault = *failure;
      is_done = true;
      ready.notify_all();
    });
    std::unique_lock lock(mutex);
    ready.wait(lock, [&] { return is_done; });
    if (fault) fault->raise();
    return result;
  }

  test::FakeBehaviour behaviour_;
};

TEST_F(ModelManagerTest, LoadsOnceForRequestsThatComeWhileItLoads) {
  behaviour_.load_ms = 50;
  ModelManager manager = make();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { EXPECT_TRUE(acquire(manager, "a:1")); });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(behaviour_.num_loads, 1);
}

TEST_F(ModelManagerTest, FailureIsToldAndTheNextTryLoadsAgain) {
  ModelManager manager = make();
  behaviour_.load_fails = true;
  EXPECT_THROW(acquire(manager, "a:1"), Error);
  EXPECT_TRUE(manager.status().empty());
  behaviour_.load_fails = false;
  EXPECT_TRUE(acquire(manager, "a:1"));
}

TEST_F(ModelManagerTest, KeepAliveUnloadsAfterTheLastUse) {
  ModelManager manager = make();
  Lease lease = acquire(manager, "a:1", 20ms);
  std::this_thread::sleep_for(60ms);
  EXPECT_EQ(behaviour_.num_alive, 1) << "in use";
  lease.release();
  EXPECT_TRUE(eventually([&] { return behaviour_.num_alive == 0; }));
  EXPECT_TRUE(manager.status().empty());
}

TEST_F(ModelManagerTest, ZeroUnloadsAtOnceAndForEverStays) {
  ModelManager manager = make();
  acquire(manager, "a:1", api::KeepAlive::zero());
  EXPECT_TRUE(eventually([&] { return behaviour_.num_alive == 0; }));
  acquire(manager, "a:1", api::kForever);
  std::this_thread::sleep_for(30ms);
  ASSERT_EQ(manager.status().size(), 1u);
  EXPECT_TRUE(manager.status()[0].stays_for_ever);
  EXPECT_TRUE(manager.unload("a:1", nullptr));
  EXPECT_TRUE(eventually([&] { return behaviour_.num_alive == 0; }));
  EXPECT_FALSE(manager.unload("a:1", nullptr));
}

TEST_F(ModelManagerTest, EvictsTheLeastRecentlyUsedIdleModel) {
  ManagerOptions options;
  options.max_loaded = 2;
  ModelManager manager = make(options);
  acquire(manager, "a:1");
  acquire(manager, "b:1");
  acquire(manager, "a:1");
  acquire(manager, "c:1");
  std::vector<std::string> names;
  for (const auto& status : manager.status()) names.push_back(status.record->name.model);
  EXPECT_EQ(names, (std::vector<std::string>{"a", "c"}));
}

TEST_F(ModelManagerTest, WaitsForAModelInUseRatherThanUnloadIt) {
  ManagerOptions options;
  options.max_loaded = 1;
  ModelManager manager = make(options);
  Lease lease = acquire(manager, "a:1");
  std::atomic<bool> has_second = false;
  std::thread second([&] {
    acquire(manager, "b:1");
    has_second = true;
  });
  std::this_thread::sleep_for(30ms);
  EXPECT_FALSE(has_second);
  lease.release();
  second.join();
  EXPECT_TRUE(has_second);
}

TEST_F(ModelManagerTest, BoundsWhoWaitsForALoad) {
  behaviour_.is_load_held = true;
  ManagerOptions options;
  options.max_waiting = 2;
  ModelManager manager = make(options);
  std::atomic<int> num_busy = 0;
  std::atomic<int> num_good = 0;
  for (int i = 0; i < 5; ++i) {
    manager.acquire(fake_record("a:1"), std::nullopt, [&](Lease lease, const Failure* failure) {
      if (failure && failure->code == ErrorCode::kBusy) ++num_busy;
      if (lease) ++num_good;
    });
  }
  EXPECT_EQ(num_busy, 3);
  behaviour_.is_load_held = false;
  EXPECT_TRUE(eventually([&] { return num_good == 2; }));
}

TEST_F(ModelManagerTest, StopCallsEveryoneWhoWaitsAndLeasesMayOutliveIt) {
  Lease lease;
  std::atomic<int> num_called = 0;
  {
    ModelManager manager = make();
    lease = acquire(manager, "a:1");
    behaviour_.load_ms = 50;
    for (const char* name : {"b:1", "c:1", "d:1"}) {
      manager.acquire(fake_record(name), std::nullopt,
                      [&](Lease, const Failure*) { ++num_called; });
    }
    manager.stop();
    EXPECT_EQ(num_called, 3);
  }
  EXPECT_EQ(behaviour_.num_alive, 0);
  lease.release();
}

TEST_F(ModelManagerTest, DrainingRefusesNewRequests) {
  ModelManager manager = make();
  manager.drain();
  try {
    acquire(manager, "a:1");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBusy);
  }
}

TEST_F(ModelManagerTest, TellsThoseWhoWaitHowFarTheLoadIs) {
  behaviour_.is_load_held = true;
  ModelManager manager = make();
  std::atomic<double> progress = -1;
  std::atomic<bool> is_done = false;
  manager.acquire(
      fake_record("a:1"), std::nullopt, [&](Lease, const Failure*) { is_done = true; },
      [&](double fraction) { progress = fraction; });
  EXPECT_GE(progress, 0) << "told at once";
  EXPECT_TRUE(eventually([&] { return progress == 0.5; }));
  behaviour_.is_load_held = false;
  EXPECT_TRUE(eventually([&] { return is_done.load(); }));
}

TEST_F(ModelManagerTest, WhoWithdrawsIsNotCalledAndFreesThePlace) {
  behaviour_.is_load_held = true;
  ManagerOptions options;
  options.max_waiting = 1;
  ModelManager manager = make(options);
  std::atomic<int> num_called = 0;
  const auto count = [&](Lease, const Failure*) { ++num_called; };
  const auto first = manager.acquire(fake_record("a:1"), std::nullopt, count);
  ASSERT_TRUE(eventually([&] { return behaviour_.num_loads == 1; }));
  EXPECT_EQ(manager.status()[0].num_waiting_for_load, 1);
  manager.withdraw(first);
  manager.withdraw(12345);
  EXPECT_EQ(manager.status()[0].num_waiting_for_load, 0);
  manager.acquire(fake_record("a:1"), std::nullopt, count);
  // Nobody is left who wants this one: it is not loaded at all.
  manager.withdraw(manager.acquire(fake_record("b:1"), std::nullopt, count));
  behaviour_.is_load_held = false;
  ASSERT_TRUE(eventually([&] { return num_called == 1; }));
  EXPECT_TRUE(eventually([&] { return manager.status().size() == 1; }));
  EXPECT_EQ(behaviour_.num_loads, 1);
}

TEST_F(ModelManagerTest, EvictsNothingForWhoHasLeftMeanwhile) {
  ManagerOptions options;
  options.max_loaded = 1;
  ModelManager manager = make(options);
  Lease lease = acquire(manager, "a:1");
  std::atomic<int> num_called = 0;
  const auto waiter = manager.acquire(fake_record("b:1"), std::nullopt,
                                      [&](Lease, const Failure*) { ++num_called; });
  std::this_thread::sleep_for(20ms);  // the loader waits for "a" to become idle
  manager.withdraw(waiter);
  ASSERT_TRUE(eventually([&] { return manager.status().size() == 1; }));
  lease.release();
  std::this_thread::sleep_for(20ms);
  ASSERT_EQ(manager.status().size(), 1u);
  EXPECT_EQ(manager.status()[0].record->name.model, "a");
  EXPECT_EQ(behaviour_.num_loads, 1);
  EXPECT_EQ(num_called, 0);
}

TEST_F(ModelManagerTest, ALoadThatNobodyWaitsForEndsSoon) {
  constexpr int kSteps = 3000;
  std::atomic<int> num_steps = 0;
  ModelManager manager(
      {}, [&](const store::ModelRecord& record, const LoadBudget&, const LoadProgress& progress) {
        while (record.name.model == "slow" && num_steps < kSteps) {
          ++num_steps;
          progress(0.5);
          std::this_thread::sleep_for(1ms);
        }
        return test::FakeLoadedModel::make(behaviour_);
      });
  const auto waiter =
      manager.acquire(fake_record("slow:1"), std::nullopt, [](Lease, const Failure*) {});
  ASSERT_TRUE(eventually([&] { return num_steps > 0; }));
  manager.withdraw(waiter);
  EXPECT_TRUE(acquire(manager, "other:1"));
  EXPECT_LT(num_steps, kSteps);
  EXPECT_EQ(manager.status().size(), 1u);
}

TEST_F(ModelManagerTest, WhoComesWhileAnAbandonedLoadEndsGetsTheModel) {
  std::atomic<bool> has_begun = false;
  std::atomic<bool> has_lease = false;
  ModelManager* self = nullptr;
  ModelManager manager(
      {}, [&](const store::ModelRecord&, const LoadBudget&, const LoadProgress& progress) {
        has_begun = true;
        try {
          while (behaviour_.is_load_held) progress(0.5);
        } catch (const Error&) {
          behaviour_.is_load_held = false;
          self->acquire(fake_record("a:1"), std::nullopt,
                        [&](Lease lease, const Failure*) { has_lease = bool{lease}; });
          throw;
        }
        return test::FakeLoadedModel::make(behaviour_);
      });
  self = &manager;
  behaviour_.is_load_held = true;
  const auto waiter =
      manager.acquire(fake_record("a:1"), std::nullopt, [](Lease, const Failure*) {});
  ASSERT_TRUE(eventually([&] { return has_begun.load(); }));
  manager.withdraw(waiter);
  EXPECT_TRUE(eventually([&] { return has_lease.load(); }));
}

void lose_device_of(const Lease& lease) {
  static_cast<engine::FakeBackend&>(*lease.model().own_backend).lose();
}

TEST_F(ModelManagerTest, IsLoadedAgainWhenItsDeviceFails) {
  ModelManager manager = make();
  Lease other = acquire(manager, "b:1");
  Lease lease = acquire(manager, "a:1");
  lose_device_of(lease);
  EXPECT_FALSE(acquire(manager, "b:1").model().is_lost());  // others serve meanwhile
  lease.release();
  eventually([&] { return behaviour_.num_loads == 3 && behaviour_.num_alive == 2; });
  EXPECT_FALSE(acquire(manager, "a:1").model().is_lost());
  EXPECT_EQ(behaviour_.num_loads, 3);
}

TEST_F(ModelManagerTest, WhoComesToALostModelGetsTheNextOne) {
  ModelManager manager = make();
  Lease lease = acquire(manager, "a:1");
  lose_device_of(lease);
  std::atomic<bool> is_done = false;
  manager.acquire(fake_record("a:1"), std::nullopt, [&](Lease next, const Failure* failure) {
    EXPECT_EQ(failure, nullptr);
    EXPECT_TRUE(next && !next.model().is_lost());
    is_done = true;
  });
  EXPECT_FALSE(is_done);
  lease.release();
  eventually([&] { return is_done.load(); });
  EXPECT_EQ(behaviour_.num_loads, 2);
}

TEST_F(ModelManagerTest, ADeviceThatFailsAgainIsToldToWhoWaits) {
  ModelManager manager = make();
  Lease lease = acquire(manager, "a:1");
  lose_device_of(lease);
  lease.release();
  eventually([&] { return behaviour_.num_loads == 2; });
  lease = acquire(manager, "a:1");
  lose_device_of(lease);
  std::atomic<bool> is_done = false;
  manager.acquire(fake_record("a:1"), std::nullopt, [&](Lease next, const Failure* failure) {
    EXPECT_FALSE(next);
    ASSERT_NE(failure, nullptr);
    EXPECT_THAT(failure->message, testing::HasSubstr("failed twice"));
    is_done = true;
  });
  lease.release();
  eventually([&] { return is_done.load(); });
  EXPECT_EQ(behaviour_.num_loads, 2);
  EXPECT_TRUE(acquire(manager, "a:1"));
  EXPECT_EQ(behaviour_.num_loads, 3);
}

TEST_F(ModelManagerTest, UnloadsByTheNameOrByTheWeights) {
  ModelManager manager = make();
  acquire(manager, "a:1");
  EXPECT_FALSE(manager.unload("b:1", nullptr));
  EXPECT_FALSE(manager.unload("no name!", nullptr));
  EXPECT_TRUE(manager.unload("A:1", nullptr)) << "as names are looked up";
  EXPECT_TRUE(eventually([&] { return manager.status().empty(); }));
  acquire(manager, "a:1");
  const SharedRecord same_weights = fake_record("a:1");
  EXPECT_TRUE(manager.unload("another-name:1", same_weights.get()));
  EXPECT_TRUE(eventually([&] { return manager.status().empty(); }));
}

TEST_F(ModelManagerTest, StatusSharesTheRecord) {
  ModelManager manager = make();
  const SharedRecord record = fake_record("a:1");
  manager.acquire(record, std::nullopt, [](Lease, const Failure*) {});
  EXPECT_EQ(manager.status().at(0).record, record) << "its texts may be 16 MiB";
}

TEST_F(ModelManagerTest, UnloadsIdleModelsToStayWithinItsMemory) {
  ManagerOptions options;
  options.max_memory_bytes = 5000;
  behaviour_.memory_bytes = 2000;  // a file of 1,000 is thought to need 1,250
  ModelManager manager = make(options);
  acquire(manager, "a:1");
  acquire(manager, "b:1");
  EXPECT_EQ(manager.status().size(), 2u);
  acquire(manager, "a:1");
  acquire(manager, "c:1");
  std::vector<std::string> names;
  for (const auto& status : manager.status()) names.push_back(status.record->name.model);
  EXPECT_EQ(names, (std::vector<std::string>{"a", "c"}));
}

TEST_F(ModelManagerTest, LoadThatRunsOutOfMemoryIsTriedAgainWithoutAnIdleModel) {
  std::vector<uint64_t> budgets;
  ManagerOptions options;
  options.max_memory_bytes = 10'000;
  behaviour_.memory_bytes = 4000;
  ModelManager manager(
      options, [&](const store::ModelRecord&, const LoadBudget& budget, const LoadProgress&) {
        budgets.push_back(budget.host_bytes);
        if (budget.host_bytes < 9000) {
          // What was taken before an idle model goes is more than the guess from
          // the file's size.
          if (budgets.size() > 1) throw Error(ErrorCode::kOutOfMemory, "too little");
        }
        return test::FakeLoadedModel::make(behaviour_);
      });
  acquire(manager, "a:1");
  acquire(manager, "b:1");
  EXPECT_EQ(budgets, (std::vector<uint64_t>{10'000, 6000, 10'000}));
  EXPECT_EQ(manager.status().size(), 1u);
  const Lease used = acquire(manager, "b:1");
  EXPECT_THROW(acquire(manager, "c:1"), Error) << "the other one is in use";
  EXPECT_EQ(manager.status().size(), 1u);
}

// Rather than to compute on the CPU beside a GPU that is full of what nobody uses.
TEST_F(ModelManagerTest, IdleModelsMakeRoomOnAGpuBeforeAnotherDeviceIsTaken) {
  std::vector<bool> may_make_room;
  ModelManager manager(
      {}, [&](const store::ModelRecord&, const LoadBudget& budget, const LoadProgress&) {
        may_make_room.push_back(budget.may_make_room);
        if (budget.may_make_room) throw Error(ErrorCode::kOutOfMemory, "the GPU is full");
        auto model = test::FakeLoadedModel::make(behaviour_);
        model->memory.on_device = model->memory.weights = 1000;
        return model;
      });
  acquire(manager, "a:1");
  const Lease used = acquire(manager, "b:1");
  acquire(manager, "c:1");
  EXPECT_EQ(may_make_room, (std::vector<bool>{false, true, false, false}));
  EXPECT_EQ(manager.status().size(), 2u);
}

TEST_F(ModelManagerTest, TotalsStayWhenAModelIsUnloaded) {
  ModelManager manager = make();
  Lease lease = acquire(manager, "a:1");
  std::promise<void> ended;
  engine::Request request;
  request.prompt = {1, 2, 3};
  request.max_tokens = 2;
  request.ignore_end_of_sequence = true;
  request.on_event = [&](const engine::Event& event) {
    if (event.is_final) ended.set_value();
  };
  lease.model().engine->submit(request);
  ended.get_future().wait();
  lease.release();
  EXPECT_TRUE(manager.unload("a:1", nullptr));
  EXPECT_TRUE(eventually([&] { return manager.status().empty(); }));
  EXPECT_TRUE(eventually([&] { return manager.totals().num_output_tokens == 2; }));
  EXPECT_EQ(manager.totals().num_requests_finished, 1u);
}

}  // namespace
}  // namespace sluice::server
