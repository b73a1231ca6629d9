#include "model/memory_plan.h"

#include <algorithm>
#include <string>

#include "backend/backend.h"
#include "base/error.h"
#include "base/units.h"

namespace sluice::model {

Error memory_shortage(const MemoryShortage& shortage) {
  std::string parts;
  const auto add = [&parts](uint64_t size_bytes, const char* what) {
    if (size_bytes == 0) return;
    parts += (parts.empty() ? "" : " + ") + format_bytes(size_bytes) + " of " + what;
  };
  add(shortage.weights_bytes, "weights");
  add(shortage.workspace_bytes, "workspace");
  add(shortage.cache_bytes, "cache at the least");
  return Error(ErrorCode::kOutOfMemory,
               "not enough memory for the model: it needs " + parts + ", and " +
                   format_bytes(shortage.free_bytes) +
                   " are free for it; stop another model or program, raise --max-memory, or take a "
                   "smaller file of the model");
}

CacheGoals cache_goals(const CacheWish& wish, int trained_context) {
  constexpr int64_t kLeastTokens = 256;
  if (wish.exact_blocks > 0) {
    return {wish.exact_blocks, wish.exact_blocks, wish.exact_blocks, wish.exact_blocks};
  }
  const int64_t trained = trained_context > 0 ? trained_context : wish.default_context;
  const int64_t usual = std::min<int64_t>(wish.default_context, trained);
  const int64_t several = usual * wish.num_sequences;
  const int64_t longest = std::min<int64_t>(trained, wish.longest_sequence);
  const auto blocks = backend::blocks_for_tokens;
  return {blocks(std::max(several, longest)), blocks(several), blocks(usual),
          blocks(std::min(kLeastTokens, trained))};
}

CachePlan plan_cache(const CacheNeeds& needs) {
  const CacheGoals goals = cache_goals(needs.wish, needs.trained_context);
  int64_t num_blocks = goals.wanted;
  for (const CacheRoom& room : needs.rooms) {
    if (room.block_bytes == 0) continue;
    const auto affordable = static_cast<int64_t>(room.available_bytes / room.block_bytes);
    if (affordable < goals.least) {
      throw memory_shortage(
          {room.weights_bytes, static_cast<uint64_t>(goals.least) * room.block_bytes,
           room.workspace_bytes, room.available_bytes + room.weights_bytes + room.workspace_bytes});
    }
    const auto most = static_cast<int64_t>(static_cast<double>(affordable) * room.most_share);
    num_blocks = std::min(num_blocks, std::max(most, goals.least));
  }
  const int64_t trained =
      needs.trained_context > 0 ? needs.trained_context : needs.wish.default_context;
  CachePlan plan;
  plan.num_blocks = static_cast<int>(num_blocks);
  plan.context_length =
      static_cast<int>(std::min<int64_t>(trained, num_blocks * backend::kBlockTokens));
  return plan;
}

}  // namespace sluice::model
