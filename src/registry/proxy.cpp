#include "registry/proxy.h"

#include <algorithm>
#include <string_view>

namespace sluice::registry {
namespace {

bool is_host_below(std::string_view host, std::string_view domain) {
  while (!domain.empty() && (domain.front() == '.' || domain.front() == '*'))
    domain.remove_prefix(1);
  if (domain.empty() || !host.ends_with(domain)) return false;
  return host.size() == domain.size() || host[host.size() - domain.size() - 1] == '.';
}

std::string_view without_spaces(std::string_view text) {
  const size_t first = std::min(text.find_first_not_of(" \t"), text.size());
  text.remove_prefix(first);
  return text.substr(0, text.find_last_not_of(" \t") + 1);
}

}  // namespace

std::string proxy_for(const RegistryOptions& options, const WebUrl& url) {
  const std::string& proxy = url.is_secure() ? options.https_proxy : options.http_proxy;
  if (proxy.empty()) return "";
  if (url.host == "localhost" || url.host == "[::1]" || url.host.starts_with("127.")) return "";
  std::string_view rest = options.no_proxy;
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view entry = without_spaces(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    if (entry == "*" || is_host_below(url.host, entry)) return "";
  }
  return proxy;
}

}  // namespace sluice::registry
