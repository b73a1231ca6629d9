#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "monitor/server_status.h"

// Which requests are shown, and in which order.
namespace sluice::monitor {

enum class SortKey {
  kQueue,  // those that run, then by place
  kAge,    // the oldest first
  kReply,  // the longest reply first
  kSpeed,  // the slowest reply first; those without one last
  kTtft,   // the longest wait for a first token first
};
std::string_view sort_key_name(SortKey key);  // "queue", "age", "reply", "speed", "ttft"
std::vector<std::string> sort_key_names();
SortKey sort_key_of(std::string_view name);  // kQueue for another name
SortKey next_sort_key(SortKey key);          // after the last the first

struct Arrangement {
  SortKey sort_key = SortKey::kQueue;
  std::string filter = {};  // what the client, the model or the number holds, in any case; "": all
};

// Drops and reorders server.requests.
void arrange(const Arrangement& arrangement, ServerSample& server);

}  // namespace sluice::monitor
