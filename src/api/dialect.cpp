#include "api/dialect.h"

#include <cstdint>
#include <random>

namespace sluice::api {

Stamp fresh_stamp() {
  thread_local std::random_device random;
  static constexpr char kDigits[] = "0123456789abcdef";
  Stamp stamp;
  while (stamp.id.size() < 24) {
    for (uint32_t bits = random(), i = 0; i < 8; ++i, bits >>= 4) stamp.id += kDigits[bits & 15];
  }
  return stamp;
}

std::string Dialect::loaded(std::string_view, std::chrono::nanoseconds) {
  throw Error(ErrorCode::kInternal, "this dialect has no replies to requests for loading");
}

std::string Dialect::rendered(const std::string&) {
  throw Error(ErrorCode::kInternal, "this dialect has no replies with a rendered prompt");
}

std::string Dialect::counted(int) {
  throw Error(ErrorCode::kInternal, "this dialect has no replies to requests for a count");
}

}  // namespace sluice::api
