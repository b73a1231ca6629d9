#include "monitor/arrange.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>
#include <utility>

namespace sluice::monitor {
namespace {

constexpr std::array<std::pair<SortKey, std::string_view>, 5> kSortKeys = {{
    {SortKey::kQueue, "queue"},
    {SortKey::kAge, "age"},
    {SortKey::kReply, "reply"},
    {SortKey::kSpeed, "speed"},
    {SortKey::kTtft, "ttft"},
}};

std::string folded(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool is_wanted(const RequestSample& request, const std::string& filter) {
  const auto holds = [&](const std::string& text) {
    return folded(text).find(filter) != std::string::npos;
  };
  return holds(request.client) || holds(request.model) || std::to_string(request.id) == filter;
}

// The smaller, the further up.
double rank(SortKey key, const RequestSample& request) {
  switch (key) {
    case SortKey::kAge:
      return -static_cast<double>(request.age.count());
    case SortKey::kReply:
      return -request.num_output_tokens;
    case SortKey::kSpeed:
      return request.mean_token_time.count() > 0 ? request.tokens_per_second()
                                                 : std::numeric_limits<double>::infinity();
    case SortKey::kTtft:
      return -static_cast<double>(request.time_to_first_token.count());
    case SortKey::kQueue:
      break;
  }
  return 0;
}

}  // namespace

std::string_view sort_key_name(SortKey key) { return kSortKeys[static_cast<size_t>(key)].second; }

std::vector<std::string> sort_key_names() {
  std::vector<std::string> names;
  for (const auto& [key, name] : kSortKeys) names.emplace_back(name);
  return names;
}

SortKey sort_key_of(std::string_view name) {
  for (const auto& [key, own_name] : kSortKeys) {
    if (own_name == name) return key;
  }
  return SortKey::kQueue;
}

SortKey next_sort_key(SortKey key) {
  return kSortKeys[(static_cast<size_t>(key) + 1) % kSortKeys.size()].first;
}

void arrange(const Arrangement& arrangement, ServerSample& server) {
  if (!arrangement.filter.empty()) {
    const std::string filter = folded(arrangement.filter);
    std::erase_if(server.requests,
                  [&](const RequestSample& request) { return !is_wanted(request, filter); });
  }
  std::stable_sort(server.requests.begin(), server.requests.end(),
                   [&](const RequestSample& a, const RequestSample& b) {
                     return rank(arrangement.sort_key, a) < rank(arrangement.sort_key, b);
                   });
}

}  // namespace sluice::monitor
