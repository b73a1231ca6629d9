#include "keys/gatekeeper.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/threads.h"
#include "keys/key_book.h"

namespace sluice::keys {
namespace {

constexpr std::chrono::milliseconds kLookEvery{500};
constexpr size_t kMaxKeyBytes = 512;  // longer ones are nobody's
constexpr int64_t kOwnKey = -1;

// Which file a path leads to: another one may have taken its place.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileIdentity&) const = default;
};

std::optional<FileIdentity> identify(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return std::nullopt;
  return FileIdentity{info.st_dev, info.st_ino};
}

std::chrono::seconds until_midnight(SystemTime now) {
  const auto end = std::chrono::floor<std::chrono::days>(now) + std::chrono::days(1);
  return std::chrono::ceil<std::chrono::seconds>(end - now);
}

}  // namespace

// One key and what is under way with it. All states share one mutex, which nobody holds for long.
struct Visit::State {
  State(std::shared_ptr<std::mutex> shared_mutex, std::function<SystemTime()> clock, Key own)
      : mutex(std::move(shared_mutex)), now(std::move(clock)), key(std::move(own)) {}

  const std::shared_ptr<std::mutex> mutex;  // guards what follows
  const std::function<SystemTime()> now;
  Key key;
  int num_running = 0;
  // Requests that may come at once; grows with time up to what a minute allows.
  double allowance = 0;
  std::optional<SystemTime> allowance_time;
  int64_t today = 0;
  int64_t num_tokens_today = 0;
  std::map<int64_t, Usage> unwritten;  // by day

  void add(const Usage& usage) {
    const int64_t day = day_of(now());
    unwritten[day] += usage;
    if (day != today) num_tokens_today = 0;
    today = day;
    num_tokens_today += usage.num_tokens();
  }
  // Why one more request would be too many.
  std::optional<Refusal> exceeded_limit(bool costs_tokens);
};

std::optional<Refusal> Visit::State::exceeded_limit(bool costs_tokens) {
  const SystemTime time = now();
  const KeyLimits& limits = key.limits;
  if (limits.max_concurrent > 0 && num_running >= limits.max_concurrent) {
    return Refusal{429,
                   "too many requests at once with the key '" + key.name + "': it may have " +
                       std::to_string(limits.max_concurrent),
                   std::chrono::seconds(1)};
  }
  const bool is_today = today == day_of(time);
  if (costs_tokens && limits.tokens_per_day > 0 && is_today &&
      num_tokens_today >= limits.tokens_per_day) {
    return Refusal{429,
                   "the key '" + key.name + "' has used up its " +
                       std::to_string(limits.tokens_per_day) + " tokens of today",
                   until_midnight(time)};
  }
  const double per_minute = limits.requests_per_minute;
  if (per_minute <= 0) return std::nullopt;
  const double minutes =
      allowance_time
          ? std::max(0.0,
                     std::chrono::duration<double, std::ratio<60>>(time - *allowance_time).count())
          : 1.0;
  allowance = std::min(per_minute, allowance + minutes * per_minute);
  allowance_time = time;
  if (allowance < 1) {
    const auto seconds = static_cast<int64_t>(std::ceil((1 - allowance) * 60 / per_minute));
    return Refusal{429,
                   "the key '" + key.name + "' allows " +
                       std::to_string(limits.requests_per_minute) + " requests a minute",
                   std::chrono::seconds(std::max<int64_t>(1, seconds))};
  }
  allowance -= 1;
  return std::nullopt;
}

Visit::Visit(std::shared_ptr<State> state) : state_(std::move(state)) {}

Visit::~Visit() {
  std::lock_guard lock(*state_->mutex);
  --state_->num_running;
}

void Visit::count_tokens(int64_t num_prompt_tokens, int64_t num_output_tokens) {
  std::lock_guard lock(*state_->mutex);
  state_->add({.num_requests = 0,
               .num_refused = 0,
               .num_prompt_tokens = num_prompt_tokens,
               .num_output_tokens = num_output_tokens});
}

struct Gatekeeper::Impl {
  using SharedState = std::shared_ptr<Visit::State>;

  explicit Impl(GatekeeperOptions wanted) : options(std::move(wanted)) {
    nobody = make_state({});
    if (options.own_key.empty()) return;
    Key own;
    own.id = kOwnKey;
    own.digest = digest_of(options.own_key);
    own.scopes = Scopes::all();
    own_key = make_state(std::move(own));
  }

  SharedState make_state(Key key) const {
    return std::make_shared<Visit::State>(mutex, options.now, std::move(key));
  }

  const GatekeeperOptions options;
  const std::shared_ptr<std::mutex> mutex = std::make_shared<std::mutex>();  // guards the states
  SharedState nobody;                                                        // who has no key
  SharedState own_key;                  // null when there is none
  std::map<int64_t, SharedState> keys;  // by id
  std::vector<SharedState> leaving;     // of revoked keys, until what they used is written

  std::mutex book_mutex;  // guards the next four
  std::optional<KeyBook> book;
  FileIdentity book_file;
  int64_t book_version = 0;
  int64_t book_day = 0;

  std::mutex thread_mutex;  // guards is_stopping
  std::condition_variable stops;
  bool is_stopping = false;
  std::thread thread;

  SharedState find(std::string_view key) const;
  Admission let_in(const SharedState& state);
  void watch();
  void refresh();
  bool open_book();
  void write_usage();
  void read_keys();
};

// Looks at every key, so that the time does not tell which it was.
Gatekeeper::Impl::SharedState Gatekeeper::Impl::find(std::string_view key) const {
  if (key.size() > kMaxKeyBytes) return nullptr;
  const KeyDigest digest = digest_of(key);
  SharedState found;
  const auto look = [&](const SharedState& state) {
    if (is_equal(state->key.digest, digest)) found = state;
  };
  for (const auto& [id, state] : keys) look(state);
  if (own_key) look(own_key);
  return found;
}

Admission Gatekeeper::Impl::let_in(const SharedState& state) {
  ++state->num_running;
  Admission admission{state->key.name, nullptr};
  try {
    admission.visit = std::make_shared<Visit>(state);
  } catch (...) {
    --state->num_running;
    throw;
  }
  Usage one;
  one.num_requests = 1;
  state->add(one);
  return admission;
}

std::variant<Admission, Refusal> Gatekeeper::admit(const Question& question) {
  if (question.access.is_for_everybody()) return Admission{};
  std::lock_guard lock(*impl_->mutex);
  const bool wants_keys =
      impl_->options.wants_keys || !impl_->keys.empty() || impl_->own_key != nullptr;
  if (!wants_keys) return impl_->let_in(impl_->nobody);

  std::string_view presented;
  for (const std::string_view key : question.keys) {
    if (!presented.empty() && key != presented) {
      return Refusal{401, "the request has two different API keys: send one"};
    }
    presented = key;
  }
  const auto state = presented.empty() ? nullptr : impl_->find(presented);
  if (!state) {
    if (question.access.is_open_to(impl_->options.without_key)) {
      return impl_->let_in(impl_->nobody);
    }
    return Refusal{401, presented.empty()
                            ? "an API key is needed: send it as \"Authorization: Bearer KEY\" or "
                              "\"x-api-key: KEY\"; sluice's commands take it from SLUICE_API_KEY, "
                              "and the server's owner makes one with `sluice key add NAME`"
                            : "the API key is not known here, or has been revoked"};
  }
  std::optional<Refusal> refusal;
  if (!question.access.is_open_to(state->key.scopes)) {
    refusal = Refusal{403, "the API key '" + state->key.name + "' may not do that: it needs the " +
                               "scope " + question.access.scopes().text()};
  } else {
    refusal = state->exceeded_limit(question.costs_tokens);
  }
  if (!refusal) return impl_->let_in(state);
  Usage one;
  one.num_refused = 1;
  state->add(one);
  return *refusal;
}

bool Gatekeeper::has_keys() const {
  std::lock_guard lock(*impl_->mutex);
  return !impl_->keys.empty();
}

// False when there is no file. One that has gone leaves its keys in force.
bool Gatekeeper::Impl::open_book() {
  const std::optional<FileIdentity> file = identify(options.path);
  if (!file) {
    if (book)
      throw Error(ErrorCode::kNotFound, "the file of the keys, " + options.path +
                                            ", is gone; the keys hold until it is back");
    return false;
  }
  if (book && book_file == *file) return true;
  book.reset();
  book.emplace(options.path, database::Database::Mode::kExisting);
  book_file = *file;
  book_version = -1;
  return true;
}

void Gatekeeper::Impl::write_usage() {
  std::vector<std::pair<SharedState, std::map<int64_t, Usage>>> taken;
  const auto take = [&](const SharedState& state) {
    if (!state->unwritten.empty()) taken.emplace_back(state, std::exchange(state->unwritten, {}));
  };
  {
    std::lock_guard lock(*mutex);
    take(nobody);
    for (const auto& [id, state] : keys) take(state);
    for (const auto& state : leaving) take(state);
    std::erase_if(leaving, [](const SharedState& state) { return state->num_running == 0; });
  }
  if (taken.empty()) return;
  try {
    database::Transaction transaction(book->database());
    for (const auto& [state, days] : taken) {
      for (const auto& [day, usage] : days) book->add_usage(state->key.id, day, usage);
    }
    transaction.commit();
  } catch (...) {
    std::lock_guard lock(*mutex);
    for (const auto& [state, days] : taken) {
      for (const auto& [day, usage] : days) state->unwritten[day] += usage;
    }
    throw;
  }
}

// Keys that stay keep what is under way with them.
void Gatekeeper::Impl::read_keys() {
  const int64_t version = book->database().data_version();
  const int64_t today = day_of(options.now());
  if (version == book_version && today == book_day) return;
  std::vector<Key> read = book->keys();
  const auto used = book->usage_of_day(today);
  std::lock_guard lock(*mutex);
  std::map<int64_t, SharedState> next;
  for (Key& key : read) {
    const auto known = keys.find(key.id);
    SharedState& state = next[key.id];
    state = known != keys.end() ? known->second : make_state({});
    state->key = std::move(key);
    state->today = today;
    state->num_tokens_today = 0;
    if (const auto unwritten = state->unwritten.find(today); unwritten != state->unwritten.end()) {
      state->num_tokens_today = unwritten->second.num_tokens();
    }
  }
  for (const auto& [id, usage] : used) {
    if (const auto found = next.find(id); found != next.end()) {
      found->second->num_tokens_today += usage.num_tokens();
    }
  }
  for (const auto& [id, state] : keys) {
    if (!next.contains(id)) leaving.push_back(state);
  }
  keys = std::move(next);
  book_version = version;
  book_day = today;
}

void Gatekeeper::Impl::refresh() {
  if (options.path.empty()) return;
  std::lock_guard lock(book_mutex);
  if (!open_book()) return;
  write_usage();
  read_keys();
}

void Gatekeeper::Impl::watch() {
  std::string last_problem;
  std::unique_lock lock(thread_mutex);
  while (!stops.wait_for(lock, kLookEvery, [this] { return is_stopping; })) {
    std::string problem;
    try {
      refresh();
    } catch (...) {
      problem = message_of(std::current_exception());
    }
    if (!problem.empty() && problem != last_problem && options.on_problem) {
      options.on_problem(problem);
    }
    last_problem = problem;
  }
}

Gatekeeper::Gatekeeper(GatekeeperOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {
  impl_->refresh();
  if (impl_->options.path.empty()) return;
  impl_->thread = start_thread("keys", [impl = impl_.get()] { impl->watch(); });
}

Gatekeeper::~Gatekeeper() {
  {
    std::lock_guard lock(impl_->thread_mutex);
    impl_->is_stopping = true;
  }
  impl_->stops.notify_all();
  if (impl_->thread.joinable()) impl_->thread.join();
  try {
    impl_->refresh();
  } catch (...) {
    if (impl_->options.on_problem) impl_->options.on_problem(message_of(std::current_exception()));
  }
}

void Gatekeeper::refresh() { impl_->refresh(); }

std::vector<DailyUsage> Gatekeeper::usage(int num_days) {
  const int64_t first_day = day_of(impl_->options.now()) - num_days + 1;
  impl_->refresh();
  {
    std::lock_guard lock(impl_->book_mutex);
    if (impl_->book) return impl_->book->usage(first_day);
  }
  std::vector<DailyUsage> days;
  std::lock_guard lock(*impl_->mutex);
  for (const auto& [day, usage] : impl_->nobody->unwritten) {
    if (day >= first_day) days.insert(days.begin(), {"", false, day, usage});
  }
  return days;
}

}  // namespace sluice::keys
