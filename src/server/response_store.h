#pragma once

#include <chrono>
#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "api/openai_responses.h"

namespace sluice::server {

// Responses that clients may go on from, in memory: the latest that fit, each for a day behind its
// last use, and each for the client alone that it was made for. Safe to share between threads.
class ResponseStore {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr size_t kMaxBytes = size_t{64} << 20;  // of all together
  static constexpr std::chrono::hours kMaxAge{24};

  explicit ResponseStore(size_t max_bytes = kMaxBytes, Clock::time_point (*now)() = Clock::now)
      : max_bytes_(max_bytes), now_(now) {}

  // Null when there is none, or it is another client's.
  std::shared_ptr<const api::openai::KeptResponse> find(std::string_view client,
                                                        const std::string& id);
  // Drops what is longest unused to make room; larger ones than kMaxKeptBytes are not taken.
  void keep(std::string_view client, api::openai::KeptResponse response);
  // False when there is none.
  bool remove(std::string_view client, const std::string& id);

 private:
  struct Entry {
    std::string client;
    std::shared_ptr<const api::openai::KeptResponse> response;
    size_t size_bytes = 0;
    Clock::time_point last_use;
  };
  using Entries = std::list<Entry>;

  Entries::iterator find_locked(std::string_view client, const std::string& id);
  void drop(Entries::iterator entry);
  void drop_old();

  const size_t max_bytes_;
  Clock::time_point (*const now_)();
  std::mutex mutex_;                                          // guards what follows
  Entries entries_;                                           // latest use first
  std::unordered_map<std::string, Entries::iterator> by_id_;  // ids are ours, and random
  size_t num_bytes_ = 0;
};

// What a dialect sees of it.
class ClientResponses : public api::openai::ResponseMemory {
 public:
  ClientResponses(ResponseStore& store, std::string client)
      : store_(store), client_(std::move(client)) {}

  std::shared_ptr<const api::openai::KeptResponse> find(const std::string& id) override {
    return store_.find(client_, id);
  }
  void keep(api::openai::KeptResponse response) override {
    store_.keep(client_, std::move(response));
  }

 private:
  ResponseStore& store_;
  const std::string client_;
};

}  // namespace sluice::server
