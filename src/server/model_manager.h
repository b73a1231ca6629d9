#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/request.h"
#include "server/catalog.h"
#include "server/failure.h"
#include "server/loaded_model.h"

namespace sluice::server {

struct ManagerOptions {
  api::KeepAlive keep_alive = std::chrono::minutes(5);
  int max_loaded = 3;             // models in memory at once
  int max_waiting = 512;          // requests that wait for one model to load
  uint64_t max_memory_bytes = 0;  // for all models together; 0: what the machine has
};

// The right to use a loaded model: as long as one is held, the model stays. May be released on any
// thread, also after the manager is gone (the model is then gone as well and must not be touched).
class Lease {
 public:
  struct Hold;
  Lease() = default;
  explicit Lease(std::shared_ptr<Hold> hold) : hold_(std::move(hold)) {}

  explicit operator bool() const { return hold_ != nullptr; }
  LoadedModel& model() const;
  void release() { hold_.reset(); }

 private:
  std::shared_ptr<Hold> hold_;
};

struct ModelStatus {
  SharedRecord record;
  bool is_loading = false;
  double load_progress = 0;  // 0 to 1
  int num_waiting_for_load = 0;
  int num_leases = 0;
  int context_length = 0;
  backend::MemoryUse memory;
  std::string backend_description;
  std::vector<LoadedModel::Part> parts;
  std::chrono::nanoseconds load_duration{};
  bool stays_for_ever = false;
  std::chrono::system_clock::time_point expires_at;  // while in use: if it became idle now
  engine::EngineStats engine;
};

// The models in memory and their lifetime. One thread ("loader") loads, one model at a time, and
// unloads: when the keep-alive has run out, on request, or, least recently used first, to make room
// for another, by number or by memory. Files with the same weights are loaded once. What was on a
// device that has failed is loaded again, once.
class ModelManager {
 public:
  // A load that fails with kOutOfMemory is tried again after an idle model has made room, as long
  // as there is one.
  using Load = std::function<std::unique_ptr<LoadedModel>(const store::ModelRecord&,
                                                          const LoadBudget&, const LoadProgress&)>;
  ModelManager(const ManagerOptions& options, Load load);
  ~ModelManager();  // stop()
  ModelManager(const ModelManager&) = delete;
  ModelManager& operator=(const ModelManager&) = delete;

  // Calls `done`, which must not throw, once with a lease or a failure: at once from this thread
  // when the model is in memory (or the queue is full), else from the loader when it is.
  // `keep_alive` replaces the model's. `on_progress` is told, before `done`, at once and then at
  // every percent, how much of the model is there (0 to 1); not when it is in memory already. It
  // must not call back. `gpu_layers` goes to the load, if there will be one. Returns a number for
  // withdraw().
  using Done = std::function<void(Lease, const Failure*)>;
  using WaiterId = uint64_t;
  WaiterId acquire(SharedRecord record, std::optional<api::KeepAlive> keep_alive, Done done,
                   LoadProgress on_progress = nullptr, std::optional<int> gpu_layers = {});
  // Stops waiting: `done` will not be called, unless it has been or is about to be. A load that
  // nobody waits for any more ends at its next step of progress.
  void withdraw(WaiterId id);

  // Unloads, as soon as nobody uses it, what was loaded under the name, be its files there or not,
  // and what has the weights of `record`, unless that is null. False when there is nothing.
  bool unload(std::string_view name, const store::ModelRecord* record);

  std::vector<ModelStatus> status() const;
  // Ends what runs with that Request::tag, with kCancelled; false when nothing does.
  bool cancel_running(uint64_t tag) const;
  // Of all engines since the start, those of models that are unloaded counted in: never smaller.
  engine::EngineTotals totals() const;
  // The same by name; of more than kMostNames the rest is under "(others)".
  static constexpr size_t kMostNames = 200;
  std::map<std::string, engine::EngineTotals> totals_by_name() const;
  uint64_t max_memory_bytes() const;

  // Refuses new requests with kBusy from here on.
  void drain();
  // Ends what runs, destroys the models, joins. Every waiting `done` is called.
  void stop();

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace sluice::server
