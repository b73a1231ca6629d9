#include "server/response_store.h"

#include <utility>

namespace sluice::server {

ResponseStore::Entries::iterator ResponseStore::find_locked(std::string_view client,
                                                            const std::string& id) {
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->client != client) return entries_.end();
  return found->second;
}

void ResponseStore::drop(Entries::iterator entry) {
  num_bytes_ -= entry->size_bytes;
  by_id_.erase(entry->response->id);
  entries_.erase(entry);
}

void ResponseStore::drop_old() {
  const Clock::time_point oldest = now_() - kMaxAge;
  while (!entries_.empty() && (num_bytes_ > max_bytes_ || entries_.back().last_use < oldest)) {
    drop(std::prev(entries_.end()));
  }
}

std::shared_ptr<const api::openai::KeptResponse> ResponseStore::find(std::string_view client,
                                                                     const std::string& id) {
  std::lock_guard lock(mutex_);
  drop_old();
  const auto entry = find_locked(client, id);
  if (entry == entries_.end()) return nullptr;
  entry->last_use = now_();
  entries_.splice(entries_.begin(), entries_, entry);
  return entry->response;
}

void ResponseStore::keep(std::string_view client, api::openai::KeptResponse response) {
  const size_t size_bytes = api::openai::size_of(response) + sizeof(Entry);
  if (size_bytes > std::min(api::openai::kMaxKeptBytes, max_bytes_)) return;
  auto shared = std::make_shared<const api::openai::KeptResponse>(std::move(response));
  std::lock_guard lock(mutex_);
  if (by_id_.contains(shared->id)) return;
  entries_.push_front({std::string(client), std::move(shared), size_bytes, now_()});
  by_id_.emplace(entries_.front().response->id, entries_.begin());
  num_bytes_ += size_bytes;
  drop_old();
}

bool ResponseStore::remove(std::string_view client, const std::string& id) {
  std::lock_guard lock(mutex_);
  const auto entry = find_locked(client, id);
  if (entry == entries_.end()) return false;
  drop(entry);
  return true;
}

}  // namespace sluice::server
