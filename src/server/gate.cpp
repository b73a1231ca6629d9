#include "server/gate.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/routes.h"

namespace sluice::server {
namespace {

// "Bearer KEY", the first word in whatever case; "" for another scheme.
std::string_view bearer_key(std::string_view value) {
  constexpr std::string_view kScheme = "bearer ";
  if (value.size() < kScheme.size()) return {};
  for (size_t i = 0; i < kScheme.size(); ++i) {
    const char c = value[i];
    if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != kScheme[i]) return {};
  }
  value.remove_prefix(kScheme.size());
  while (value.starts_with(' ')) value.remove_prefix(1);
  return value;
}

// Those of the two headers that clients use; never of the query, which ends up in logs.
std::vector<std::string_view> keys_of(const HttpRequest& request) {
  std::vector<std::string_view> keys;
  for (const auto& [name, value] : request.headers) {
    const std::string_view key = name == "authorization" ? bearer_key(value)
                                 : name == "x-api-key"   ? std::string_view(value)
                                                         : std::string_view();
    if (!key.empty()) keys.push_back(key);
  }
  return keys;
}

Reply turn_away(const HttpRequest& request, const keys::Refusal& refusal) {
  Reply reply = json_reply(error_text_for(request, refusal.status, refusal.message));
  reply.status = refusal.status;
  if (refusal.status == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (refusal.retry_after.count() > 0) {
    reply.headers.emplace_back("Retry-After", std::to_string(refusal.retry_after.count()));
  }
  if (const std::string* origin = request.header("origin")) {
    for (auto& header : cors_headers(*origin, false)) reply.headers.push_back(std::move(header));
  }
  return reply;
}

}  // namespace

std::variant<Caller, Reply> pass_gate(const AccessRules& rules, keys::Gatekeeper& gatekeeper,
                                      const HttpRequest& request) {
  std::variant<Caller, Reply> verdict = check_access(rules, request);
  if (std::holds_alternative<Reply>(verdict)) return verdict;
  const RouteTerms terms =
      terms_of(request).value_or(RouteTerms{keys::Access::for_any_key(), false});
  auto answer = gatekeeper.admit({keys_of(request), terms.access, terms.costs_tokens});
  if (const auto* refusal = std::get_if<keys::Refusal>(&answer))
    return turn_away(request, *refusal);
  auto& admission = std::get<keys::Admission>(answer);
  return Caller{std::move(admission.name), std::move(admission.visit)};
}

}  // namespace sluice::server
