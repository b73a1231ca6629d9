#include "store/model_name.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"

namespace sluice::store {
namespace {

bool is_alphanumeric(char character) {
  return std::isalnum(static_cast<unsigned char>(character)) != 0;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) ==
           std::tolower(static_cast<unsigned char>(y));
  });
}

// Cuts what follows the last `separator` off `text`; nothing when there is no separator. A
// separator promises that both sides are there: that is left to is_valid_name_part, which refuses
// "".
std::optional<std::string> cut_last(std::string_view& text, char separator) {
  const size_t at = text.rfind(separator);
  if (at == std::string_view::npos) return std::nullopt;
  std::string tail(text.substr(at + 1));
  text = text.substr(0, at);
  return tail;
}

bool is_valid(const ModelName& name) {
  return is_valid_name_part(NamePart::kHost, name.host) &&
         is_valid_name_part(NamePart::kNamespace, name.name_space) &&
         is_valid_name_part(NamePart::kModel, name.model) &&
         is_valid_name_part(NamePart::kTag, name.tag) &&
         (name.scheme.empty() || name.scheme == "http" || name.scheme == "https");
}

}  // namespace

bool is_valid_name_part(NamePart part, std::string_view text) {
  const size_t max_length = part == NamePart::kHost ? 350 : 80;
  if (text.empty() || text.size() > max_length) return false;
  if (!is_alphanumeric(text[0]) && text[0] != '_') return false;
  return std::all_of(text.begin(), text.end(), [part](char character) {
    switch (character) {
      case '_':
      case '-':
        return true;
      case '.':
        return part != NamePart::kNamespace;
      case ':':
        return part == NamePart::kHost;
      default:
        return is_alphanumeric(character);
    }
  });
}

std::optional<ModelName> ModelName::try_parse(std::string_view text) {
  constexpr size_t kMaxLength = 1024;
  if (text.size() > kMaxLength) return std::nullopt;
  ModelName name;
  const size_t colon = text.rfind(':');
  const size_t slash = text.rfind('/');
  if (colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash)) {
    name.tag = *cut_last(text, ':');
  }
  if (auto model = cut_last(text, '/')) {
    name.model = *model;
    if (auto name_space = cut_last(text, '/')) {
      name.name_space = *name_space;
      if (const size_t scheme_end = text.find("://"); scheme_end != std::string_view::npos) {
        name.scheme = text.substr(0, scheme_end);
        if (name.scheme.empty()) return std::nullopt;
        text = text.substr(scheme_end + 3);
      }
      name.host = text;
    } else {
      name.name_space = text;
    }
  } else {
    name.model = text;
  }
  if (!is_valid(name)) return std::nullopt;
  return name;
}

ModelName ModelName::parse(std::string_view text) {
  if (auto name = try_parse(text)) return *name;
  throw Error(ErrorCode::kInvalidArgument, "invalid model name");
}

std::string ModelName::short_name() const {
  const ModelName defaults;
  std::string text = model + ":" + tag;
  const bool is_default_host = equal_ignoring_case(host, defaults.host);
  if (!is_default_host || !equal_ignoring_case(name_space, defaults.name_space)) {
    text = name_space + "/" + text;
  }
  return is_default_host ? text : host + "/" + text;
}

std::string ModelName::full_name() const {
  return host + "/" + name_space + "/" + model + ":" + tag;
}

std::string ModelName::relative_path() const {
  return host + "/" + name_space + "/" + model + "/" + tag;
}

bool ModelName::is_same_model(const ModelName& other) const {
  return equal_ignoring_case(host, other.host) &&
         equal_ignoring_case(name_space, other.name_space) &&
         equal_ignoring_case(model, other.model) && equal_ignoring_case(tag, other.tag);
}

}  // namespace sluice::store
