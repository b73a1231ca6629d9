#include "server/model_manager.h"

#include <malloc.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
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

// One model: waiting for the loader, being loaded, or ready (`model` set).
struct Entry {
  store::ModelRecord record;
  std::unique_ptr<LoadedModel> model;
  std::vector<ModelManager::Done> waiters;
  std::atomic<double> progress = 0;
  int num_leases = 0;
  api::KeepAlive keep_alive{};
  Clock::time_point last_used;
  Clock::time_point expires_at;
  std::chrono::nanoseconds load_duration{};
};

Error to_error(const std::exception& exception) {
  if (const auto* error = dynamic_cast<const Error*>(&exception)) return *error;
  if (dynamic_cast<const std::bad_alloc*>(&exception)) {
    return Error(ErrorCode::kOutOfMemory,
                 "not enough memory to load the model: " + format_bytes(available_memory_bytes()) +
                     " are available");
  }
  return Error(ErrorCode::kInternal, exception.what());
}

}  // namespace

struct ModelManager::State : std::enable_shared_from_this<ModelManager::State> {
  ManagerOptions options;
  Load load;
  mutable std::mutex mutex;  // guards all that follows
  std::condition_variable changed;
  std::list<Entry> entries;  // addresses stay
  bool is_draining = false;
  bool is_stopping = false;
  std::thread loader;

  Entry* find(const std::string& path);
  Lease lease(Entry& entry);
  void release(Entry& entry);
  void run();
  Entry* next_to_load();
  std::list<Entry>::iterator next_expired(Clock::time_point now);
  void make_room(std::unique_lock<std::mutex>& lock, const Entry& wanted);
  void load_entry(std::unique_lock<std::mutex>& lock, Entry& entry);
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
  std::list<Entry> removed;
  removed.splice(removed.begin(), entries, entry);
  lock.unlock();
  spdlog::info("unloading {} ({})", removed.front().record.name.short_name(), why);
  removed.clear();
  malloc_trim(0);  // gives the memory back to the system, not only to our own heap
  lock.lock();
}

// Unloads idle models, the least recently used first, until the wanted one may be loaded; waits
// while all others are in use and there are too many.
void ModelManager::State::make_room(std::unique_lock<std::mutex>& lock, const Entry& wanted) {
  while (!is_stopping) {
    auto oldest = entries.end();
    int num_loaded = 0;
    for (auto it = entries.begin(); it != entries.end(); ++it) {
      if (!it->model) continue;
      ++num_loaded;
      if (it->num_leases > 0) continue;
      if (oldest == entries.end() || it->last_used < oldest->last_used) oldest = it;
    }
    const bool too_many = num_loaded >= options.max_loaded;
    const bool too_big =
        wanted.record.size_bytes + wanted.record.size_bytes / 4 > available_memory_bytes();
    if (num_loaded == 0 || (!too_many && !too_big)) return;
    if (oldest != entries.end()) {
      destroy(lock, oldest, "to make room");
    } else if (too_many) {
      changed.wait(lock);
    } else {
      return;  // all are in use: the load itself says what is missing
    }
  }
}

void ModelManager::State::load_entry(std::unique_lock<std::mutex>& lock, Entry& entry) {
  make_room(lock, entry);
  if (is_stopping) return;
  const store::ModelRecord record = entry.record;
  lock.unlock();
  const Clock::time_point start = Clock::now();
  std::unique_ptr<LoadedModel> model;
  std::optional<Error> error;
  try {
    spdlog::info("loading {} ({})", record.name.short_name(), format_bytes(record.size_bytes));
    model = load(record, [&entry](double fraction) { entry.progress = fraction; });
  } catch (const std::exception& exception) {
    error = to_error(exception);
    spdlog::error("loading {} failed: {}", record.name.short_name(), error->what());
  }
  lock.lock();
  std::vector<Done> waiters = std::move(entry.waiters);
  entry.waiters.clear();
  std::vector<Lease> leases;
  if (model) {
    entry.model = std::move(model);
    entry.load_duration = Clock::now() - start;
    entry.expires_at = expiry(Clock::now(), entry.keep_alive);
    for (size_t i = 0; i < waiters.size(); ++i) leases.push_back(lease(entry));
    spdlog::info("loaded {} in {}: {}, {} tokens of context", record.name.short_name(),
                 format_go_duration(entry.load_duration), entry.model->backend_description,
                 entry.model->context_length);
  } else {
    entries.remove_if([&entry](const Entry& other) { return &other == &entry; });
    leases.resize(waiters.size());
  }
  lock.unlock();
  for (size_t i = 0; i < waiters.size(); ++i) {
    waiters[i](std::move(leases[i]), error ? &*error : nullptr);
  }
  lock.lock();
}

void ModelManager::State::run() {
  set_thread_name("loader");
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
  state_->loader = std::thread([state = state_.get()] { state->run(); });
}

ModelManager::~ModelManager() { stop(); }

void ModelManager::acquire(const store::ModelRecord& record,
                           std::optional<api::KeepAlive> keep_alive, Done done) {
  std::optional<Error> error;
  Lease lease;
  {
    std::lock_guard lock(state_->mutex);
    Entry* entry = state_->find(record.model_path);
    if (state_->is_draining || state_->is_stopping) {
      error.emplace(ErrorCode::kBusy, "server busy: it is shutting down");
    } else if (entry && !entry->model &&
               static_cast<int>(entry->waiters.size()) >= state_->options.max_waiting) {
      error.emplace(ErrorCode::kBusy,
                    "server busy, please try again.  maximum pending requests exceeded");
    } else {
      if (!entry) {
        entry = &state_->entries.emplace_back();
        entry->record = record;
        entry->keep_alive = state_->options.keep_alive;
      }
      if (keep_alive) entry->keep_alive = *keep_alive;
      if (!entry->model) {
        entry->waiters.push_back(std::move(done));
        state_->changed.notify_all();
        return;
      }
      lease = state_->lease(*entry);
    }
  }
  done(std::move(lease), error ? &*error : nullptr);
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
    status.load_progress = entry.model ? 1.0 : entry.progress.load();
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
    if (!entry.model) continue;
    for (const auto& request : entry.model->engine->stats().requests) {
      entry.model->engine->cancel(request.id);
    }
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
    for (const Done& done : entry.waiters) done(Lease(), &error);
  }
}

}  // namespace sluice::server
