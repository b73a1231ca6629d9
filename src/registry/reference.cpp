#include "registry/reference.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace sluice::registry {
namespace {

// "host" or "host:port"; names of models allow more colons.
bool is_authority(std::string_view host) {
  const size_t colon = host.find(':');
  if (colon == std::string_view::npos) return true;
  const std::string_view port = host.substr(colon + 1);
  unsigned number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  return error == std::errc() && end == port.data() + port.size() && number > 0 && number < 65'536;
}

}  // namespace

Reference Reference::parse(std::string_view text, bool insecure) {
  Reference reference;
  reference.name = store::ModelName::parse(text);
  const std::string scheme = std::exchange(reference.name.scheme, {});
  if (scheme == "http" && !insecure) {
    throw Error(ErrorCode::kInvalidArgument,
                "insecure protocol http; say --insecure (\"insecure\": true) if that is wanted");
  }
  if (!is_authority(reference.name.host)) {
    throw Error(ErrorCode::kInvalidArgument, "invalid model name");
  }
  reference.is_http = insecure && scheme != "https";
  reference.is_unverified = insecure;
  return reference;
}

std::string Reference::repository() const { return name.name_space + "/" + name.model; }

WebUrl Reference::url(std::string_view rest) const {
  return WebUrl::parse((is_http ? "http://" : "https://") + name.host + "/v2/" + repository() +
                       "/" + std::string(rest));
}

bool is_file_url(std::string_view text) {
  if (!text.starts_with("https://") && !text.starts_with("http://")) return false;
  const std::string_view path = text.substr(0, text.find_first_of("?#"));
  return path.ends_with(".gguf");
}

}  // namespace sluice::registry
