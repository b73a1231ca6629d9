#include "server/usage_route.h"

#include <charconv>
#include <string>

#include "api/error.h"
#include "api/json_writer.h"

namespace sluice::server {
namespace {

constexpr int kMaxDays = 3660;

int days_of(const HttpRequest& request) {
  const std::string text = query_parameter(request.query, "days").value_or("30");
  int days = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), days);
  const bool is_whole = error == std::errc() && end == text.data() + text.size();
  if (!is_whole || days < 1 || days > kMaxDays) {
    api::fail("days must be a whole number from 1 to " + std::to_string(kMaxDays));
  }
  return days;
}

}  // namespace

Reply say_usage(const ServerContext& context, const HttpRequest& request, Work& work) {
  api::JsonList list;
  for (const keys::DailyUsage& used : context.gatekeeper.usage(days_of(request))) {
    work.charge(sizeof used);
    api::JsonObject item;
    item.add_json("key", used.name.empty() ? "null" : api::json_text(used.name));
    item.add("is_revoked", used.is_revoked);
    item.add("day", keys::format_day(used.day));
    item.add("requests", used.usage.num_requests);
    item.add("refused", used.usage.num_refused);
    item.add("prompt_tokens", used.usage.num_prompt_tokens);
    item.add("output_tokens", used.usage.num_output_tokens);
    list.add_json(item.take());
  }
  api::JsonObject json;
  json.add_json("usage", list.take());
  return json_reply(json.take());
}

}  // namespace sluice::server
