#include "server/journal.h"

#include <algorithm>
#include <array>
#include <new>
#include <utility>

namespace sluice::server {
namespace {

// Static text: what clients make up does not become a label.
std::string_view known_method(std::string_view method) {
  static constexpr std::array<std::string_view, 7> kMethods = {"GET",    "HEAD",  "POST",   "PUT",
                                                               "DELETE", "PATCH", "OPTIONS"};
  const auto* found = std::find(kMethods.begin(), kMethods.end(), method);
  return found == kMethods.end() ? "other" : *found;
}

}  // namespace

void Journal::begin(const RequestLife& life, std::optional<Waker> waker) {
  LiveRequest live{life.number,  life.id,    life.route,      life.key,
                   life.address, life.model, life.arrived_at, std::move(waker)};
  std::lock_guard lock(mutex_);
  live_.emplace(life.number, std::move(live));
}

void Journal::set_model(uint64_t number, const std::string& model) {
  std::lock_guard lock(mutex_);
  const auto found = live_.find(number);
  if (found != live_.end()) found->second.model = model;
}

void Journal::end(RequestLife&& life, bool is_quiet) noexcept {
  try {
    log_.write(life, is_quiet);
    const CountKey key{known_method(life.method), life.route.empty() ? "none" : life.route,
                       life.status};
    SharedLife kept;
    if (!life.model.empty()) kept = std::make_shared<const RequestLife>(std::move(life));
    std::lock_guard lock(mutex_);
    live_.erase(life.number);
    ++counts_[key];
    if (!kept) return;
    ended_.push_back(std::move(kept));
    if (ended_.size() > kMostEnded) ended_.pop_front();
  } catch (const std::exception&) {  // no memory
    std::lock_guard lock(mutex_);
    live_.erase(life.number);
  }
}

std::vector<LiveRequest> Journal::live() const {
  std::vector<LiveRequest> list;
  std::lock_guard lock(mutex_);
  list.reserve(live_.size());
  for (auto live = live_.rbegin(); live != live_.rend(); ++live) list.push_back(live->second);
  return list;
}

std::vector<SharedLife> Journal::ended() const {
  std::lock_guard lock(mutex_);
  return {ended_.rbegin(), ended_.rend()};
}

std::vector<HttpCount> Journal::counts() const {
  std::vector<HttpCount> list;
  std::lock_guard lock(mutex_);
  for (const auto& [key, count] : counts_) {
    list.push_back({key.method, key.route, key.status, count});
  }
  return list;
}

SharedLife Journal::find_ended(std::string_view id) const {
  std::lock_guard lock(mutex_);
  const auto found = std::find_if(ended_.rbegin(), ended_.rend(),
                                  [id](const SharedLife& life) { return life->id == id; });
  return found == ended_.rend() ? nullptr : *found;
}

}  // namespace sluice::server
