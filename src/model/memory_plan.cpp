#include "model/memory_plan.h"

#include <algorithm>
#include <string>

#include "backend/backend.h"
#include "base/error.h"
#include "base/units.h"

namespace sluice::model {

void throw_shortage(const MemoryShortage& shortage) {
  std::string parts;
  const auto add = [&parts](uint64_t size_bytes, const char* what) {
    if (size_bytes == 0) return;
    parts += (parts.empty() ? "" : " + ") + format_bytes(size_bytes) + " of " + what;
  };
  add(shortage.weights_bytes, "weights");
  add(shortage.workspace_bytes, "workspace");
  add(shortage.cache_bytes, "cache at the least");
  throw Error(ErrorCode::kOutOfMemory,
              "not enough memory for the model: it needs " + parts + ", and " +
                  format_bytes(shortage.free_bytes) +
                  " are free for it; stop another model or program, raise --max-memory, or take a "
                  "smaller file of the model");
}

CachePlan plan_cache(const CacheNeeds& needs) {
  constexpr int64_t kLeastTokens = 256;
  const int64_t trained = needs.trained_context > 0 ? needs.trained_context : needs.default_context;
  const int64_t usual = std::min<int64_t>(needs.default_context, trained);
  const int64_t wanted =
      std::max(usual * needs.num_sequences, std::min<int64_t>(trained, needs.longest_sequence));
  const int64_t wanted_blocks = backend::blocks_for_tokens(wanted);
  const int64_t least_blocks = backend::blocks_for_tokens(std::min(kLeastTokens, trained));
  int64_t num_blocks = wanted_blocks;
  if (needs.block_bytes > 0) {
    const auto affordable = static_cast<int64_t>(needs.available_bytes / needs.block_bytes);
    if (affordable < least_blocks) {
      const uint64_t least_bytes = static_cast<uint64_t>(least_blocks) * needs.block_bytes;
      throw_shortage({needs.weights_bytes, least_bytes, needs.workspace_bytes,
                      needs.available_bytes + needs.weights_bytes + needs.workspace_bytes});
    }
    num_blocks = std::min(wanted_blocks, std::max(affordable / 2, least_blocks));
  }
  CachePlan plan;
  plan.num_blocks = static_cast<int>(num_blocks);
  plan.context_length =
      static_cast<int>(std::min<int64_t>(trained, num_blocks * backend::kBlockTokens));
  return plan;
}

}  // namespace sluice::model
