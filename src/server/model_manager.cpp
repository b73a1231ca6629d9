#include "server/model_manager.h"

#include <malloc.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>
#include <thread>

#include "base/memory.h"
#include "base/threads.h"
#include "base/units.h"

namespace sluice::server {
namespace {

using Clock = std::chrono::steady_clock;

// now + keep_alive without overflow; max() stands for ever.
Clock::time_point expiry(Clock::time_point now, api::KeepAlive keep_alive) {
  if (keep_alive >= api::KeepAlive(Clock::time_point::max() - now)) return Clock::time_point::max();
  return now + std::max(keep_alive, api::KeepAlive::zero());
}

// A request that waits for a model.
struct Waiter {
  ModelManager::WaiterId id = 0;
  ModelManager::Done done;
  LoadProgress on_progress;  // may be empty
};

// One model: waiting for the loader, being loaded, or ready (`model` set).
struct Entry {
  store::ModelRecord record;
  std::unique_ptr<LoadedModel> model;
  std::vector<Waiter> waiters;
  double progress = 0;
  Clock::time_point load_start;  // of the load under way
  int num_leases = 0;
  api::KeepAlive keep_alive{};
  Clock::time_point last_used;
  Clock::time_point expires_at;
  std::chrono::nanoseconds load_duration{};

  // What it takes; before it is loaded, a guess from the file's size.
  uint64_t memory_bytes() const {
    if (!model) return record.size_bytes + record.size_bytes / 4;
    const backend::MemoryUse& memory = model->memory;
    return uint64_t{memory.weights} + memory.cache + memory.workspace;
  }
};

Error to_error(const std::exception& exception, const store::ModelRecord& record) {
  if (const auto* error = dynamic_cast<const Error*>(&exception)) return *error;
  if (dynamic_cast<const std::bad_alloc*>(&exception)) {
    return Error(ErrorCode::kOutOfMemory,
                 "not enough memory to load the model: its weights alone need " +
                     format_bytes(record.size_bytes) + ", and " +
                     format_bytes(available_memory_bytes()) + " are free now");
  }
  return Error(ErrorCode::kInternal, exception.what());
}

}  // namespace

struct ModelManager::State : std::enable_shared_from_this<ModelManager::State> {
  ManagerOptions options;
  Load load;
  mutable std::mutex mutex;  // guards all that follows
  std::condition_variable changed;
  std::list<Entry> entries;       // addresses stay
  std::list<Entry> unloading;     // their models are on the way out
  engine::EngineTotals unloaded;  // of the models that are gone
  bool is_draining = false;
  bool is_stopping = false;
  ModelManager::WaiterId last_waiter = 0;
  std::thread loader;

  Entry* find(const std::string& path);
  Lease lease(Entry& entry);
  void release(Entry& entry);
  void run();
  Entry* next_to_load();
  std::list<Entry>::iterator next_expired(Clock::time_point now);
  std::list<Entry>::iterator oldest_idle();
  uint64_t free_budget() const;
  void make_room(std::unique_lock<std::mutex>& lock, const Entry& wanted);
  void load_entry(std::unique_lock<std::mutex>& lock, Entry& entry);
  std::unique_ptr<LoadedModel> try_load(std::unique_lock<std::mutex>& lock, Entry& entry,
                                        std::optional<Error>& error);
  void tell_progress(Entry& entry, double fraction);
  void destroy(std::unique_lock<std::mutex>& lock, std::list<Entry>::iterator entry,
               const char* why);
  Clock::time_point next_expiry() const;
};

struct Lease::Hold {
  std::shared_ptr<ModelManager::State> state;
  Entry* entry;
  LoadedModel* model;
  ~Hold();
};

Lease::Hold::~Hold() {
  std::lock_guard lock(state->mutex);
  if (!state->is_stopping) state->release(*entry);
}

LoadedModel& Lease::model() const { return *hold_->model; }

Entry* ModelManager::State::find(const std::string& path) {
  for (Entry& entry : entries) {
    if (entry.record.model_path == path) return &entry;
  }
  return nullptr;
}

Lease ModelManager::State::lease(Entry& entry) {
  ++entry.num_leases;
  entry.last_used = Clock::now();
  return Lease(std::make_shared<Lease::Hold>(shared_from_this(), &entry, entry.model.get()));
}

void ModelManager::State::release(Entry& entry) {
  if (--entry.num_leases > 0) return;
  entry.last_used = Clock::now();
  entry.expires_at = expiry(entry.last_used, entry.keep_alive);
  changed.notify_all();
}

Entry* ModelManager::State::next_to_load() {
  for (Entry& entry : entries) {
    if (!entry.model) return &entry;
  }
  return nullptr;
}

std::list<Entry>::iterator ModelManager::State::next_expired(Clock::time_point now) {
  return std::find_if(entries.begin(), entries.end(), [now](const Entry& entry) {
    return entry.model && entry.num_leases == 0 && entry.expires_at <= now;
  });
}

Clock::time_point ModelManager::State::next_expiry() const {
  // Waiting until max() overflows in the library; an hour is as good.
  Clock::time_point earliest = Clock::now() + std::chrono::hours(1);
  for (const Entry& entry : entries) {
    if (entry.model && entry.num_leases == 0) earliest = std::min(earliest, entry.expires_at);
  }
  return earliest;
}

void ModelManager::State::destroy(std::unique_lock<std::mutex>& lock,
                                  std::list<Entry>::iterator entry, const char* why) {
  unloading.splice(unloading.begin(), entries, entry);
  lock.unlock();
  spdlog::info("unloading {} ({})", entry->record.name.short_name(), why);
  const engine::EngineTotals totals = entry->model->engine->stop();
  std::list<Entry> removed;
  lock.lock();
  unloaded += totals;
  removed.splice(removed.begin(), unloading, entry);
  lock.unlock();
  removed.clear();
  malloc_trim(0);  // gives the memory back to the system, not only to our own heap
  lock.lock();
}

std::list<Entry>::iterator ModelManager::State::oldest_idle() {
  auto oldest = entries.end();
  for (auto it = entries.begin(); it != entries.end(); ++it) {
    if (!it->model || it->num_leases > 0) continue;
    if (oldest == entries.end() || it->last_used < oldest->last_used) oldest = it;
  }
  return oldest;
}

// What one more model may take.
uint64_t ModelManager::State::free_budget() const {
  const uint64_t available = available_memory_bytes();
  if (options.max_memory_bytes == 0) return available;
  uint64_t used = 0;
  for (const Entry& entry : entries) {
    if (entry.model) used += entry.memory_bytes();
  }
  return std::min(available, options.max_memory_bytes - std::min(options.max_memory_bytes, used));
}

// Unloads idle models, the least recently used first, until the wanted one may be loaded; waits
// while all others are in use and there are too many. Stops when nobody waits for it any more.
void ModelManager::State::make_room(std::unique_lock<std::mutex>& lock, const Entry& wanted) {
  while (!is_stopping && !wanted.waiters.empty()) {
    const auto num_loaded = std::count_if(entries.begin(), entries.end(),
                                          [](const Entry& entry) { return bool{entry.model}; });
    const bool too_many = num_loaded >= options.max_loaded;
    const bool too_big = wanted.memory_bytes() > free_budget();
    if (num_loaded == 0 || (!too_many && !too_big)) return;
    const auto oldest = oldest_idle();
    if (oldest != entries.end()) {
      destroy(lock, oldest, "to make room");
    } else if (too_many) {
      changed.wait(lock);
    } else {
      return;  // all are in use: the load itself says what is missing
    }
  }
}

void ModelManager::State::tell_progress(Entry& entry, double fraction) {
  std::vector<LoadProgress> listeners;
  {
    std::lock_guard lock(mutex);
    if (is_stopping) throw Error(ErrorCode::kCancelled, "the server ends while the model loads");
    const bool is_news = static_cast<int>(fraction * 100) != static_cast<int>(entry.progress * 100);
    entry.progress = fraction;
    if (!is_news) return;
    for (const Waiter& waiter : entry.waiters) {
      if (waiter.on_progress) listeners.push_back(waiter.on_progress);
    }
  }
  for (const LoadProgress& listener : listeners) listener(fraction);
}

std::unique_ptr<LoadedModel> ModelManager::State::try_load(std::unique_lock<std::mutex>& lock,
                                                           Entry& entry,
                                                           std::optional<Error>& error) {
  const store::ModelRecord& record = entry.record;  // does not change
  const uint64_t budget = free_budget();
  entry.load_start = Clock::now();
  entry.progress = 0;
  lock.unlock();
  std::unique_ptr<LoadedModel> model;
  try {
    spdlog::info("loading {} ({})", record.name.short_name(), format_bytes(record.size_bytes));
    model =
        load(record, budget, [this, &entry](double fraction) { tell_progress(entry, fraction); });
  } catch (const std::exception& exception) {
    error = to_error(exception, record);
    spdlog::error("loading {} failed: {}", record.name.short_name(), error->what());
  }
  if (!model) malloc_trim(0);
  lock.lock();
  return model;
}

void ModelManager::State::load_entry(std::unique_lock<std::mutex>& lock, Entry& entry) {
  make_room(lock, entry);
  std::unique_ptr<LoadedModel> model;
  std::optional<Error> error;
  while (!is_stopping && !entry.waiters.empty()) {
    error.reset();
    model = try_load(lock, entry, error);
    if (model || error->code() != ErrorCode::kOutOfMemory) break;
    const auto oldest = oldest_idle();
    if (oldest == entries.end() || entry.waiters.empty()) break;
    destroy(lock, oldest, "to make room");
  }
  if (is_stopping && !model && !error) return;
  std::vector<Waiter> waiters = std::move(entry.waiters);
  entry.waiters.clear();
  std::vector<Lease> leases;
  if (model) {
    entry.model = std::move(model);
    entry.load_duration = Clock::now() - entry.load_start;
    entry.last_used = Clock::now();
    entry.expires_at = expiry(entry.last_used, entry.keep_alive);
    for (size_t i = 0; i < waiters.size(); ++i) leases.push_back(lease(entry));
    spdlog::info("loaded {} in {}: {}, {} tokens of context", entry.record.name.short_name(),
                 format_go_duration(entry.load_duration), entry.model->backend_description,
                 entry.model->context_length);
  } else {
    entries.remove_if([&entry](const Entry& other) { return &other == &entry; });
    leases.resize(waiters.size());
  }
  lock.unlock();
  for (size_t i = 0; i < waiters.size(); ++i) {
    waiters[i].done(std::move(leases[i]), error ? &*error : nullptr);
  }
  lock.lock();
}

void ModelManager::State::run() {
  std::unique_lock lock(mutex);
  while (!is_stopping) {
    if (Entry* entry = next_to_load()) {
      load_entry(lock, *entry);
      continue;
    }
    const auto expired = next_expired(Clock::now());
    if (expired != entries.end()) {
      destroy(lock, expired, "keep-alive is over");
      continue;
    }
    changed.wait_until(lock, next_expiry());
  }
}

ModelManager::ModelManager(const ManagerOptions& options, Load load)
    : state_(std::make_shared<State>()) {
  state_->options = options;
  state_->load = std::move(load);
  state_->loader = start_thread("loader", [state = state_.get()] { state->run(); });
}

ModelManager::~ModelManager() { stop(); }

ModelManager::WaiterId ModelManager::acquire(const store::ModelRecord& record,
                                             std::optional<api::KeepAlive> keep_alive, Done done,
                                             LoadProgress on_progress) {
  std::optional<Error> error;
  Lease lease;
  WaiterId id = 0;
  {
    std::lock_guard lock(state_->mutex);
    Entry* entry = state_->find(record.model_path);
    if (state_->is_draining || state_->is_stopping) {
      error.emplace(ErrorCode::kBusy, "server busy: it is shutting down");
    } else if (entry && !entry->model &&
               static_cast<int>(entry->waiters.size()) >= state_->options.max_waiting) {
      error.emplace(ErrorCode::kBusy,
                    "server busy, please try again.  maximum pending requests exceeded: " +
                        std::to_string(entry->waiters.size()) + " wait for the model to load");
    } else {
      if (!entry) {
        entry = &state_->entries.emplace_back();
        entry->record = record;
        entry->keep_alive = state_->options.keep_alive;
      }
      if (keep_alive) entry->keep_alive = *keep_alive;
      id = ++state_->last_waiter;
      if (!entry->model) {
        // Under the lock, so that no later progress overtakes it.
        if (on_progress) on_progress(entry->progress);
        entry->waiters.push_back({id, std::move(done), std::move(on_progress)});
        state_->changed.notify_all();
        return id;
      }
      lease = state_->lease(*entry);
    }
  }
  done(std::move(lease), error ? &*error : nullptr);
  return id;
}

void ModelManager::withdraw(WaiterId id) {
  std::optional<Waiter> withdrawn;  // destroyed without the lock: it may own much
  std::lock_guard lock(state_->mutex);
  for (Entry& entry : state_->entries) {
    const auto found = std::find_if(entry.waiters.begin(), entry.waiters.end(),
                                    [id](const Waiter& waiter) { return waiter.id == id; });
    if (found == entry.waiters.end()) continue;
    withdrawn = std::move(*found);
    entry.waiters.erase(found);
    state_->changed.notify_all();  // the loader may be making room for it
    return;
  }
}

bool ModelManager::unload(const store::ModelRecord& record) {
  std::lock_guard lock(state_->mutex);
  Entry* entry = state_->find(record.model_path);
  if (!entry) return false;
  entry->keep_alive = api::KeepAlive::zero();
  entry->expires_at = Clock::now();
  state_->changed.notify_all();
  return true;
}

std::vector<ModelStatus> ModelManager::status() const {
  std::vector<ModelStatus> result;
  const auto now = Clock::now();
  const auto wall = std::chrono::system_clock::now();
  std::lock_guard lock(state_->mutex);
  for (const Entry& entry : state_->entries) {
    ModelStatus& status = result.emplace_back();
    status.record = entry.record;
    status.is_loading = entry.model == nullptr;
    status.load_progress = entry.model ? 1.0 : entry.progress;
    status.num_waiting_for_load = static_cast<int>(entry.waiters.size());
    status.num_leases = entry.num_leases;
    status.load_duration = entry.load_duration;
    const auto expires =
        entry.num_leases > 0 || !entry.model ? expiry(now, entry.keep_alive) : entry.expires_at;
    status.stays_for_ever = expires == Clock::time_point::max();
    if (!status.stays_for_ever) {
      status.expires_at =
          wall + std::chrono::duration_cast<std::chrono::system_clock::duration>(expires - now);
    }
    if (!entry.model) continue;
    status.context_length = entry.model->context_length;
    status.memory = entry.model->memory;
    status.backend_description = entry.model->backend_description;
    status.engine = entry.model->engine->stats();
  }
  return result;
}

engine::EngineTotals ModelManager::totals() const {
  std::lock_guard lock(state_->mutex);
  engine::EngineTotals totals = state_->unloaded;
  for (const std::list<Entry>* entries : {&state_->entries, &state_->unloading}) {
    for (const Entry& entry : *entries) {
      if (entry.model) totals += entry.model->engine->stats();
    }
  }
  return totals;
}

uint64_t ModelManager::max_memory_bytes() const { return state_->options.max_memory_bytes; }

int ModelManager::num_leases() const {
  std::lock_guard lock(state_->mutex);
  int total = 0;
  for (const Entry& entry : state_->entries) {
    total += entry.num_leases + static_cast<int>(entry.waiters.size());
  }
  return total;
}

void ModelManager::drain() {
  std::lock_guard lock(state_->mutex);
  state_->is_draining = true;
}

void ModelManager::cancel_all() {
  std::lock_guard lock(state_->mutex);
  for (Entry& entry : state_->entries) {
    if (entry.model) entry.model->engine->cancel_all();
  }
}

void ModelManager::stop() {
  {
    std::lock_guard lock(state_->mutex);
    if (state_->is_stopping) return;
    state_->is_stopping = true;
  }
  state_->changed.notify_all();
  state_->loader.join();
  std::list<Entry> entries;
  {
    std::lock_guard lock(state_->mutex);
    entries.swap(state_->entries);
  }
  const Error error(ErrorCode::kBusy, "server busy: it is shutting down");
  for (Entry& entry : entries) {
    for (const Waiter& waiter : entry.waiters) waiter.done(Lease(), &error);
  }
}

}  // namespace sluice::server
