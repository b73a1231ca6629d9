#include "keys/key.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <cstdio>

#include "base/error.h"

namespace sluice::keys {
namespace {

constexpr std::string_view kPrefix = "sluice-";

}  // namespace

std::string make_key() {
  std::array<unsigned char, 32> bytes;
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
    throw Error(ErrorCode::kInternal, "the system has no random numbers for a key");
  }
  std::string key(kPrefix);
  for (const unsigned char byte : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    key += kDigits[byte >> 4];
    key += kDigits[byte & 15];
  }
  return key;
}

KeyDigest digest_of(std::string_view key) {
  KeyDigest digest;
  if (EVP_Digest(key.data(), key.size(), reinterpret_cast<unsigned char*>(digest.data()), nullptr,
                 EVP_sha256(), nullptr) != 1) {
    throw Error(ErrorCode::kOutOfMemory, "not enough memory for a digest");
  }
  return digest;
}

bool is_equal(const KeyDigest& left, const KeyDigest& right) {
  return CRYPTO_memcmp(left.data(), right.data(), left.size()) == 0;
}

std::string hint_of(std::string_view key) { return std::string(key.substr(0, kPrefix.size() + 6)); }

int64_t day_of(SystemTime time) {
  return std::chrono::floor<std::chrono::days>(time).time_since_epoch().count();
}

std::string format_day(int64_t day) {
  const std::chrono::year_month_day date{std::chrono::sys_days(std::chrono::days(day))};
  char text[32];
  std::snprintf(text, sizeof text, "%04d-%02u-%02u", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
  return text;
}

Usage& Usage::operator+=(const Usage& other) {
  num_requests += other.num_requests;
  num_refused += other.num_refused;
  num_prompt_tokens += other.num_prompt_tokens;
  num_output_tokens += other.num_output_tokens;
  return *this;
}

}  // namespace sluice::keys
