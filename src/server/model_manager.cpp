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

// A model whose device fails is loaded again, but not more often.
constexpr std::chrono::minutes kLossesApart{10};

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
  SharedRecord record;
  std::string name;  // for the log
  std::unique_ptr<LoadedModel> model;
  std::vector<Waiter> waiters;
  double progress = 0;
  Clock::time_point load_start;  // of the load under way
  int num_leases = 0;
  api::KeepAlive keep_alive{};
  Clock::time_point last_used;
  Clock::time_point expires_at;
  std::chrono::nanoseconds load_duration{};
  std::optional<int> gpu_layers;  // LoadBudget's
  bool is_reload = false;         // to be loaded again because its device failed, whoever waits
  std::optional<Clock::time_point> last_loss;

  // There is something to load, or it is being loaded, for somebody.
  bool is_wanted() const { return !waiters.empty() || is_reload; }
  bool is_ready() const { return model && !model->is_lost(); }
  bool is_lost() const { return model && model->is_lost(); }

  // What it takes of the host's memory; before it is loaded, a guess from the file's size.
  uint64_t memory_bytes() const {
    if (!model) return record->size_bytes + record->size_bytes / 4;
    const backend::MemoryUse& memory = model->memory;
    return uint64_t{memory.weights} + memory.cache + memory.workspace - memory.on_device;
  }
};

Failure load_failure(const std::exception_ptr& exception, uint64_t size_bytes) noexcept {
  Failure failure = failure_of(exception);
  try {
    std::rethrow_exception(exception);
  } catch (const std::bad_alloc&) {
    try {
      failure.message = "not enough memory to load the model: its weights alone need " +
                        format_bytes(size_bytes) + ", and " +
                        format_bytes(available_memory_bytes()) + " are free now";
    } catch (const std::exception&) {  // the short text stays
    }
  } catch (...) {
  }
  return failure;
}

using TotalsByName = std::map<std::string, engine::EngineTotals>;

void add_totals(TotalsByName& all, const CatalogRecord& record,
                const engine::EngineTotals& totals) {
  const std::string name = record.name.short_name();
  const bool has_place = all.contains(name) || all.size() < ModelManager::kMostNames;
  all[has_place ? name : "(others)"] += totals;
}

Failure shutting_down() { return {ErrorCode::kBusy, "server busy: it is shutting down"}; }

}  // namespace

struct ModelManager::State : std::enable_shared_from_this<ModelManager::State> {
  ManagerOptions options;
  Load load;
  mutable std::mutex mutex;  // guards all that follows
  std::condition_variable changed;
  std::list<Entry> entries;                              // addresses stay
  std::list<Entry> unloading;                            // their models are on the way out
  std::map<std::string, engine::EngineTotals> unloaded;  // of the models that are gone, by name
  bool is_draining = false;
  bool is_stopping = false;
  ModelManager::WaiterId last_waiter = 0;
  std::thread loader;

  Entry* find(const std::string& path);
  Lease lease(Entry& entry);
  void release(Entry& entry);
  void run();
  Entry* next_to_load();
  std::list<Entry>::iterator next_lost();
  std::list<Entry>::iterator next_expired(Clock::time_point now);
  std::list<Entry>::iterator oldest_idle();
  bool has_idle_on_device() const;
  uint64_t free_budget() const;
  void make_room(std::unique_lock<std::mutex>& lock, const Entry& wanted);
  void load_entry(std::unique_lock<std::mutex>& lock, Entry& entry);
  std::unique_ptr<LoadedModel> make_model(std::unique_lock<std::mutex>& lock, Entry& entry,
                                          std::optional<Failure>& failure);
  std::unique_ptr<LoadedModel> try_load(std::unique_lock<std::mutex>& lock, Entry& entry,
                                        std::optional<Failure>& failure);
  void tell_progress(Entry& entry, double fraction);
  void end_wait(const Waiter& waiter, Entry* ready, const Failure* failure);
  void give_up_lost(std::unique_lock<std::mutex>& lock, std::list<Entry>::iterator entry);
  void finish_unloading(std::unique_lock<std::mutex>& lock, const char* why);
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
    if (entry.record->model_path == path) return &entry;
  }
  return nullptr;
}

Lease ModelManager::State::lease(Entry& entry) {
  auto hold = std::make_shared<Lease::Hold>(shared_from_this(), &entry, entry.model.get());
  ++entry.num_leases;
  entry.last_used = Clock::now();
  return Lease(std::move(hold));
}

void ModelManager::State::release(Entry& entry) {
  if (--entry.num_leases > 0) return;
  entry.last_used = Clock::now();
  entry.expires_at = expiry(entry.last_used, entry.keep_alive);
  changed.notify_all();
}

// None while a failed device is in use: it can be used again when all that was on it is gone, which
// does not take long, as its requests have ended.
Entry* ModelManager::State::next_to_load() {
  Entry* found = nullptr;
  for (Entry& entry : entries) {
    if (entry.is_lost()) return nullptr;
    if (!entry.model && !found) found = &entry;
  }
  return found;
}

std::list<Entry>::iterator ModelManager::State::next_lost() {
  return std::find_if(entries.begin(), entries.end(),
                      [](const Entry& entry) { return entry.num_leases == 0 && entry.is_lost(); });
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
  finish_unloading(lock, why);
}

// The first of those that are on the way out; without the lock meanwhile.
void ModelManager::State::finish_unloading(std::unique_lock<std::mutex>& lock, const char* why) {
  const auto entry = unloading.begin();
  lock.unlock();
  spdlog::info("unloading {} ({})", entry->name, why);
  const engine::EngineTotals totals = entry->model->engine->stop();
  std::list<Entry> removed;
  lock.lock();
  add_totals(unloaded, *entry->record, totals);
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

bool ModelManager::State::has_idle_on_device() const {
  return std::any_of(entries.begin(), entries.end(), [](const Entry& entry) {
    return entry.model && entry.num_leases == 0 && entry.model->memory.on_device > 0;
  });
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
  while (!is_stopping && wanted.is_wanted()) {
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
    if (!entry.is_wanted()) throw Error(ErrorCode::kCancelled, "nobody waits for it any more");
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
                                                           std::optional<Failure>& failure) {
  const uint64_t size_bytes = entry.record->size_bytes;
  const LoadBudget budget = {free_budget(), has_idle_on_device(), entry.gpu_layers};
  entry.load_start = Clock::now();
  entry.progress = 0;
  lock.unlock();
  std::unique_ptr<LoadedModel> model;
  try {
    spdlog::info("loading {} ({})", entry.name, format_bytes(size_bytes));
    model = load(*entry.record, budget,
                 [this, &entry](double fraction) { tell_progress(entry, fraction); });
  } catch (...) {
    failure = load_failure(std::current_exception(), size_bytes);
    const bool is_wanted = failure->code != ErrorCode::kCancelled;
    spdlog::log(is_wanted ? spdlog::level::err : spdlog::level::info, "loading {} failed: {}",
                entry.name, failure->message);
  }
  if (!model) malloc_trim(0);
  lock.lock();
  return model;
}

// Null when it failed, or nobody wants it any more. Throws when there is no memory for what is
// around the load.
std::unique_ptr<LoadedModel> ModelManager::State::make_model(std::unique_lock<std::mutex>& lock,
                                                             Entry& entry,
                                                             std::optional<Failure>& failure) {
  make_room(lock, entry);
  while (!is_stopping && entry.is_wanted()) {
    failure.reset();
    std::unique_ptr<LoadedModel> model = try_load(lock, entry, failure);
    if (model) return model;
    if (failure->code == ErrorCode::kCancelled) continue;  // somebody may have come since
    const auto oldest = oldest_idle();
    const bool may_help = failure->code == ErrorCode::kOutOfMemory && entry.is_wanted();
    if (!may_help || oldest == entries.end()) break;
    destroy(lock, oldest, "to make room");
  }
  return nullptr;
}

// With a lease of the model, if it is ready, else with the failure.
void ModelManager::State::end_wait(const Waiter& waiter, Entry* ready, const Failure* failure) {
  Lease given;
  Failure shortage;
  try {
    std::lock_guard lock(mutex);
    if (ready) given = lease(*ready);
  } catch (...) {
    shortage = failure_of(std::current_exception());
    failure = &shortage;
  }
  waiter.done(std::move(given), failure);
}

void ModelManager::State::load_entry(std::unique_lock<std::mutex>& lock, Entry& entry) {
  std::unique_ptr<LoadedModel> model;
  std::optional<Failure> failure;
  try {
    model = make_model(lock, entry, failure);
  } catch (...) {
    failure = failure_of(std::current_exception());
  }
  if (!lock.owns_lock()) lock.lock();
  if (is_stopping && !model && !failure) return;
  std::vector<Waiter> waiters = std::exchange(entry.waiters, {});
  entry.is_reload = false;
  Entry* ready = nullptr;
  if (model) {
    ready = &entry;
    entry.model = std::move(model);
    entry.load_duration = Clock::now() - entry.load_start;
    entry.last_used = Clock::now();
    entry.expires_at = expiry(entry.last_used, entry.keep_alive);
  } else {
    entries.remove_if([&entry](const Entry& other) { return &other == &entry; });
  }
  lock.unlock();
  for (const Waiter& waiter : waiters) end_wait(waiter, ready, failure ? &*failure : nullptr);
  waiters.clear();  // they may own much
  if (ready) {      // which only this thread unloads
    spdlog::info("loaded {} in {}: {}, {} tokens of context", ready->name,
                 format_go_duration(ready->load_duration), ready->model->backend_description,
                 ready->model->context_length);
  }
  lock.lock();
}

// The model of a device that has failed goes. It is loaded again at once, but not a second time
// within minutes: then who waits is told, and the next request begins anew.
void ModelManager::State::give_up_lost(std::unique_lock<std::mutex>& lock,
                                       std::list<Entry>::iterator entry) {
  const Clock::time_point now = Clock::now();
  const bool is_again = entry->last_loss && now - *entry->last_loss < kLossesApart;
  std::vector<Waiter> disappointed;
  if (is_again) {
    disappointed = std::exchange(entry->waiters, {});
    unloading.splice(unloading.begin(), entries, entry);
  } else {
    Entry& leaving = unloading.emplace_front();
    leaving.record = entry->record;
    leaving.name = entry->name;
    leaving.model = std::move(entry->model);
    entry->last_loss = now;
    entry->is_reload = !entry->waiters.empty() || entry->expires_at > now;
    if (!entry->is_reload) entries.erase(entry);
  }
  finish_unloading(lock, is_again ? "its device has failed again" : "its device has failed");
  if (disappointed.empty()) return;
  const Failure failure = {ErrorCode::kInternal,
                           "the device has failed twice under this model, which was loaded again "
                           "once; the server's log says how"};
  lock.unlock();
  for (const Waiter& waiter : disappointed) end_wait(waiter, nullptr, &failure);
  disappointed.clear();  // they may own much
  lock.lock();
}

void ModelManager::State::run() {
  std::unique_lock lock(mutex);
  while (!is_stopping) {
    try {
      if (const auto lost = next_lost(); lost != entries.end()) {
        give_up_lost(lock, lost);
        continue;
      }
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
    } catch (const std::exception& error) {  // no memory: what is left to do is tried again soon
      spdlog::error("the loader of models failed: {}", error.what());
      if (!lock.owns_lock()) lock.lock();
      changed.wait_for(lock, std::chrono::milliseconds(50));
    }
  }
}

ModelManager::ModelManager(const ManagerOptions& options, Load load)
    : state_(std::make_shared<State>()) {
  state_->options = options;
  state_->load = std::move(load);
  state_->loader = start_thread("loader", [state = state_.get()] { state->run(); });
}

ModelManager::~ModelManager() { stop(); }

ModelManager::WaiterId ModelManager::acquire(SharedRecord record,
                                             std::optional<api::KeepAlive> keep_alive, Done done,
                                             LoadProgress on_progress,
                                             std::optional<int> gpu_layers) {
  std::optional<Failure> failure;
  Lease lease;
  WaiterId id = 0;
  {
    std::lock_guard lock(state_->mutex);
    Entry* entry = state_->find(record->model_path);
    if (state_->is_draining || state_->is_stopping) {
      failure = shutting_down();
    } else if (entry && !entry->is_ready() &&
               static_cast<int>(entry->waiters.size()) >= state_->options.max_waiting) {
      failure = {ErrorCode::kBusy,
                 "server busy, please try again.  maximum pending requests exceeded: " +
                     std::to_string(entry->waiters.size()) + " wait for the model to load"};
    } else {
      if (!entry) {
        Entry fresh;
        fresh.name = record->name.short_name();
        fresh.record = std::move(record);
        fresh.keep_alive = state_->options.keep_alive;
        entry = &state_->entries.emplace_back(std::move(fresh));
      }
      if (keep_alive) entry->keep_alive = *keep_alive;
      id = ++state_->last_waiter;
      if (!entry->is_ready()) {
        // Who has it loaded says how; a reload stays as it was.
        if (entry->waiters.empty() && !entry->is_reload && !entry->is_lost()) {
          entry->gpu_layers = gpu_layers;
        }
        // Under the lock, so that no later progress overtakes it.
        if (on_progress) on_progress(entry->progress);
        entry->waiters.push_back({id, std::move(done), std::move(on_progress)});
        state_->changed.notify_all();
        return id;
      }
      lease = state_->lease(*entry);
    }
  }
  done(std::move(lease), failure ? &*failure : nullptr);
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

bool ModelManager::unload(std::string_view name, const store::ModelRecord* record) {
  const auto wanted = store::ModelName::try_parse(name);
  bool is_found = false;
  std::lock_guard lock(state_->mutex);
  for (Entry& entry : state_->entries) {
    const bool has_name = wanted && entry.record->name.is_same_model(*wanted);
    const bool has_weights = record && entry.record->model_path == record->model_path;
    if (!has_name && !has_weights) continue;
    is_found = true;
    entry.keep_alive = api::KeepAlive::zero();
    entry.expires_at = Clock::now();
  }
  state_->changed.notify_all();
  return is_found;
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
    status.parts = entry.model->parts;
    status.engine = entry.model->engine->stats();
  }
  return result;
}

bool ModelManager::cancel_running(uint64_t tag) const {
  bool is_found = false;
  std::lock_guard lock(state_->mutex);
  for (const Entry& entry : state_->entries) {
    if (!entry.model) continue;
    for (const engine::RequestStatus& request : entry.model->engine->stats().requests) {
      if (request.tag != tag || !request.is_running) continue;
      entry.model->engine->cancel(request.id);
      is_found = true;
    }
  }
  return is_found;
}

engine::EngineTotals ModelManager::totals() const {
  engine::EngineTotals sum;
  for (const auto& [name, totals] : totals_by_name()) sum += totals;
  return sum;
}

std::map<std::string, engine::EngineTotals> ModelManager::totals_by_name() const {
  std::lock_guard lock(state_->mutex);
  TotalsByName all = state_->unloaded;
  for (const std::list<Entry>* entries : {&state_->entries, &state_->unloading}) {
    for (const Entry& entry : *entries) {
      if (entry.model) add_totals(all, *entry.record, entry.model->engine->stats());
    }
  }
  return all;
}

uint64_t ModelManager::max_memory_bytes() const { return state_->options.max_memory_bytes; }

void ModelManager::drain() {
  std::lock_guard lock(state_->mutex);
  state_->is_draining = true;
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
  const Failure failure = shutting_down();
  for (Entry& entry : entries) {
    for (const Waiter& waiter : entry.waiters) waiter.done(Lease(), &failure);
  }
}

}  // namespace sluice::server
