#include "server/memory.h"

#include <algorithm>
#include <string>

#include "backend/backend.h"
#include "base/error.h"
#include "base/units.h"

namespace sluice::server {

CachePlan plan_cache(const CacheNeeds& needs) {
  constexpr int64_t kLeastTokens = 256;
  const int64_t trained = needs.trained_context > 0 ? needs.trained_context : needs.default_context;
  const int64_t usual = std::min<int64_t>(needs.default_context, trained);
  const int64_t wanted =
      std::max(usual * needs.num_sequences, std::min<int64_t>(trained, needs.longest_sequence));
  const int64_t wanted_blocks = backend::blocks_for_tokens(wanted);
  const int64_t affordable =
      needs.block_bytes == 0 ? wanted_blocks
                             : static_cast<int64_t>(needs.available_bytes / 2 / needs.block_bytes);
  const int64_t num_blocks = std::min(wanted_blocks, affordable);
  if (num_blocks * backend::kBlockTokens < std::min(kLeastTokens, trained)) {
    throw Error(ErrorCode::kOutOfMemory,
                "not enough memory for the cache: " + format_bytes(needs.available_bytes) +
                    " are available and half of it must hold " + std::to_string(kLeastTokens) +
                    " tokens of " + format_bytes(needs.block_bytes / backend::kBlockTokens) +
                    " each; stop another model or program");
  }
  CachePlan plan;
  plan.num_blocks = static_cast<int>(num_blocks);
  plan.context_length =
      static_cast<int>(std::min<int64_t>(trained, num_blocks * backend::kBlockTokens));
  return plan;
}

}  // namespace sluice::server
