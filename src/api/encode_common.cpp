#include "api/encode_common.h"

#include <algorithm>
#include <cstdint>

#include "api/unicode_repair.h"

namespace sluice::api {
namespace {

// Text as it will stand on the wire: what is not UTF-8 is replaced, so that `bytes` agrees with it.
std::string wire_text(std::string_view text) {
  std::string repaired;
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0) {
      repaired += "\xEF\xBF\xBD";
    } else {
      repaired += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(1, length));
  }
  return repaired;
}

Json encode_one(const TokenLogprob& item) {
  constexpr double kLowest = -9999.0;  // JSON has no minus infinity; OpenAI sends this number
  const std::string token = wire_text(item.token);
  Json json;
  json["token"] = token;
  json["logprob"] = item.logprob >= kLowest ? item.logprob : kLowest;
  json["bytes"] = Json::array();
  for (const char character : token) json["bytes"].push_back(static_cast<uint8_t>(character));
  return json;
}

}  // namespace

Json encode_logprobs(const std::vector<TokenLogprob>& logprobs, bool always_top) {
  Json list = Json::array();
  for (const TokenLogprob& item : logprobs) {
    Json json = encode_one(item);
    if (always_top || !item.top.empty()) {
      json["top_logprobs"] = Json::array();
      for (const TokenLogprob& other : item.top) json["top_logprobs"].push_back(encode_one(other));
    }
    list.push_back(std::move(json));
  }
  return list;
}

}  // namespace sluice::api
