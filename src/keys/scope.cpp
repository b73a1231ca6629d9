#include "keys/scope.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace sluice::keys {
namespace {

struct NamedScope {
  std::string_view name;
  Scope scope;
};
constexpr std::array kScopes = {NamedScope{"infer", Scope::kInfer},
                                NamedScope{"manage", Scope::kManage},
                                NamedScope{"metrics", Scope::kMetrics}};

Scopes parse_one(std::string_view word) {
  if (word == "all") return Scopes::all();
  for (const NamedScope& known : kScopes) {
    if (word == known.name) return known.scope;
  }
  throw Error(ErrorCode::kInvalidArgument,
              "there is no scope '" + std::string(word) +
                  "': there are infer, manage, metrics, and all for the three of them");
}

}  // namespace

Scopes Scopes::parse(std::string_view text) {
  Scopes scopes;
  if (text == "none") return scopes;
  while (true) {
    const size_t comma = std::min(text.find(','), text.size());
    std::string_view word = text.substr(0, comma);
    while (word.starts_with(' ')) word.remove_prefix(1);
    while (word.ends_with(' ')) word.remove_suffix(1);
    scopes = scopes | parse_one(word);
    if (comma == text.size()) return scopes;
    text.remove_prefix(comma + 1);
  }
}

std::string Scopes::text() const {
  std::string text;
  for (const NamedScope& known : kScopes) {
    if (!overlaps(known.scope)) continue;
    if (!text.empty()) text += ',';
    text += known.name;
  }
  return text.empty() ? "none" : text;
}

}  // namespace sluice::keys
