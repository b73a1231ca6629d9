#include "server/request_life.h"

#include <algorithm>

#include "api/dialect.h"

namespace sluice::server {
namespace {

constexpr size_t kLongestId = 128;

// What stands in logs and commands as it is.
bool is_sane(std::string_view id) {
  const auto is_good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == ':' || c == '-';
  };
  return !id.empty() && id.size() <= kLongestId && std::all_of(id.begin(), id.end(), is_good);
}

}  // namespace

std::string request_id_of(const std::string* client_header) {
  if (client_header != nullptr && is_sane(*client_header)) return *client_header;
  return "req_" + api::fresh_stamp().id;
}

void RequestLife::set_error(std::string_view text) {
  if (text.size() > kMostErrorBytes) {
    text = text.substr(0, kMostErrorBytes);
    // No half of a character.
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0) == 0x80) {
      text.remove_suffix(1);
    }
    if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xC0) text.remove_suffix(1);
  }
  error = text;
}

void RequestLife::add_part(const engine::Event& final_event) {
  ++num_parts;
  num_prompt_tokens += final_event.num_prompt_tokens;
  num_cached_tokens += final_event.num_cached_tokens;
  num_output_tokens += final_event.num_output_tokens;
  if (parts.size() < kMostParts) {
    parts.push_back({final_event, final_event.stop_string, final_event.trace});
  }
}

}  // namespace sluice::server
