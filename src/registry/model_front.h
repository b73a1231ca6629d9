#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>

#include "registry/options.h"
#include "registry/reference.h"

namespace sluice::registry {

// The first bytes of a model's weights, to look at it before it is fetched.
struct ModelFront {
  std::string bytes;
  uint64_t size_bytes = 0;  // of the whole
};

// Fetches more and more of the front (1 MiB, 4, 16, ...) until `is_enough` says so; nothing is
// stored, and no digest can be checked. Throws what pull() throws, kUnsupported where the registry
// gives no ranges, kCorruptData when 256 MiB are not enough, and what `is_enough` throws.
ModelFront fetch_front(const Reference& reference, const RegistryOptions& options,
                       const std::function<bool(const ModelFront&)>& is_enough,
                       std::stop_token stop);

}  // namespace sluice::registry
