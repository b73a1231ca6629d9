#include "api/encode_common.h"

#include <cmath>
#include <cstdint>

#include "api/unicode_repair.h"

namespace sluice::api {
namespace {

JsonObject one_logprob(const ReplyLogprob& item) {
  JsonList bytes;
  for (const char character : item.token) bytes.add(unsigned{static_cast<uint8_t>(character)});
  JsonObject json;
  json.add("token", item.token);
  json.add("logprob", finite_logprob(item.logprob));
  json.add_json("bytes", bytes.take());
  return json;
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

double finite_logprob(double logprob) {
  constexpr double kLowest = -9999.0;
  return logprob >= kLowest ? logprob : kLowest;
}

std::string logprobs_json(const std::vector<ReplyLogprob>& logprobs, bool always_top) {
  JsonList list;
  for (const ReplyLogprob& item : logprobs) {
    JsonObject json = one_logprob(item);
    if (always_top || !item.top.empty()) {
      JsonList top;
      for (const ReplyLogprob& other : item.top) top.add_json(one_logprob(other).take());
      json.add_json("top_logprobs", top.take());
    }
    list.add_json(json.take());
  }
  return list.take();
}

std::string waiting_comment(const Waiting& waiting) {
  if (waiting.is_loading) {
    return ": loading " + std::to_string(std::lround(waiting.load_progress * 100)) + "%\n\n";
  }
  return ": queue position " + std::to_string(waiting.place.position) + ", about " +
         format_seconds(waiting.place.estimated_wait) + " s\n\n";
}

}  // namespace sluice::api
