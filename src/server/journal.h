#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/access_log.h"
#include "server/exchange.h"
#include "server/request_life.h"

namespace sluice::server {

using SharedLife = std::shared_ptr<const RequestLife>;

// A request for a model that is under way.
struct LiveRequest {
  uint64_t number = 0;
  std::string id;
  std::string_view route;
  std::string key;
  std::string address;
  std::string model;
  std::chrono::system_clock::time_point arrived_at;
  std::optional<Waker> waker = {};  // of who answers it
};

// How many requests had which end, for GET /metrics.
struct HttpCount {
  std::string_view method;  // "other" for one that no route has
  std::string_view route;   // "none" when it came to none
  int status = 0;
  uint64_t count = 0;
};

// Remembers what became of requests: those under way, and the last kMostEnded that were about a
// model. Each request that ends is counted and has its line in the access log. Safe to share
// between threads.
class Journal {
 public:
  static constexpr size_t kMostEnded = 1000;

  explicit Journal(AccessLog& log) : log_(log) {}

  uint64_t next_number() { return ++last_number_; }
  // What begins has to end.
  void begin(const RequestLife& life, std::optional<Waker> waker = {});
  void set_model(uint64_t number, const std::string& model);
  // `is_quiet`: asked so often that its line is for debugging only. What there is no memory for is
  // not remembered.
  void end(RequestLife&& life, bool is_quiet) noexcept;

  // Newest first.
  std::vector<LiveRequest> live() const;
  std::vector<SharedLife> ended() const;
  std::vector<HttpCount> counts() const;
  // The newest of that id; null when there is none.
  SharedLife find_ended(std::string_view id) const;

 private:
  struct CountKey {
    std::string_view method, route;
    int status;
    auto operator<=>(const CountKey&) const = default;
  };

  AccessLog& log_;
  std::atomic<uint64_t> last_number_ = 0;
  mutable std::mutex mutex_;  // guards what follows
  std::map<uint64_t, LiveRequest> live_;
  std::deque<SharedLife> ended_;  // the newest is the last
  std::map<CountKey, uint64_t> counts_;
};

}  // namespace sluice::server
