#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "keys/key.h"

namespace sluice::keys {

// A request that was let in: what it uses is its key's. Ends with the request.
class Visit {
 public:
  struct State;
  explicit Visit(std::shared_ptr<State> state);
  ~Visit();
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

  // Tokens that were computed for it; from any thread.
  void count_tokens(int64_t num_prompt_tokens, int64_t num_output_tokens);

 private:
  const std::shared_ptr<State> state_;
};

// Why a request was not let in, as HTTP has it: 401, 403, or 429 with the time to try again.
struct Refusal {
  int status = 401;
  std::string message;
  std::chrono::seconds retry_after{0};
};

// What the gate asks about a request.
struct Question {
  std::vector<std::string_view> keys;  // that it came with
  Access access;                       // of its route
  bool costs_tokens = false;
};
struct Admission {
  std::string name;              // of the key; "" without one
  std::shared_ptr<Visit> visit;  // null where nothing is counted
};

struct GatekeeperOptions {
  std::string path = {};     // of the KeyBook; "": there is none and none is made
  std::string own_key = {};  // one more, which is written nowhere and may do everything; "": none
  bool wants_keys = false;   // also as long as there are none
  Scopes without_key = {};   // what those may do who have none, where keys are wanted
  std::function<SystemTime()> now = [] { return std::chrono::system_clock::now(); };
  std::function<void(const std::string&)> on_problem = {};  // what went wrong in the background
};

// Decides who is let in, bounds what each key does, and counts it. As long as there are no keys
// and none are wanted everybody is let in. Keys that other processes add or revoke hold within half
// a second; what was used is written as often (thread "keys"). No call but refresh() and usage()
// touches the disk. Safe to share between threads.
class Gatekeeper {
 public:
  // Throws what KeyBook does.
  explicit Gatekeeper(GatekeeperOptions options);
  ~Gatekeeper();
  Gatekeeper(const Gatekeeper&) = delete;
  Gatekeeper& operator=(const Gatekeeper&) = delete;

  std::variant<Admission, Refusal> admit(const Question& question);
  bool has_keys() const;

  // Writes what was used and reads what others changed, now. Throws what KeyBook does.
  void refresh();
  // Of the last `num_days` days, today's included, the newest first; also what no key has used.
  std::vector<DailyUsage> usage(int num_days);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::keys
