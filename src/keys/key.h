#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "keys/scope.h"

// API keys. A key is "sluice-" and 64 hexadecimal digits: 256 random bits, so that its plain
// SHA-256 is kept in place of it and tells nobody anything.
namespace sluice::keys {

using SystemTime = std::chrono::system_clock::time_point;
using KeyDigest = std::array<std::byte, 32>;

// A new key, from the system's random numbers.
std::string make_key();
KeyDigest digest_of(std::string_view key);
// In a time that does not depend on where they differ.
bool is_equal(const KeyDigest& left, const KeyDigest& right);
// What a list shows of a key for its owner to know it again: "sluice-3fa94c".
std::string hint_of(std::string_view key);

// Of one key; 0: no bound.
struct KeyLimits {
  int requests_per_minute = 0;  // on the average; so many may come at once
  int max_concurrent = 0;       // requests under way
  int64_t tokens_per_day = 0;   // of prompts and replies; a day ends at midnight UTC
};

struct Key {
  int64_t id = 0;
  std::string name;
  std::string hint;
  KeyDigest digest{};
  Scopes scopes;
  KeyLimits limits;
  SystemTime created;
  std::optional<SystemTime> revoked;
};

// Days since 1970 in UTC, and how they are written: "2026-08-21".
int64_t day_of(SystemTime time);
std::string format_day(int64_t day);

struct Usage {
  int64_t num_requests = 0;
  int64_t num_refused = 0;  // for a limit or a scope; the others are not counted here
  int64_t num_prompt_tokens = 0;
  int64_t num_output_tokens = 0;

  int64_t num_tokens() const { return num_prompt_tokens + num_output_tokens; }
  bool is_zero() const {
    return num_requests == 0 && num_refused == 0 && num_prompt_tokens == 0 &&
           num_output_tokens == 0;
  }
  Usage& operator+=(const Usage& other);
};

// What a key has used on a day.
struct DailyUsage {
  std::string name;  // "" of requests without a key
  bool is_revoked = false;
  int64_t day = 0;
  Usage usage;
};

}  // namespace sluice::keys
