#include "registry/challenge.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/print.h"

namespace sluice::registry {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxScopes = 16;
constexpr size_t kMaxTokenBytes = size_t{32} << 10;
constexpr size_t kMaxReplyBytes = size_t{256} << 10;
constexpr int kMaxDepth = 16;

char lower(char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c); }

std::string lowered(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), lower);
  return result;
}

// Reads a header's value from front to back.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool is_at_end() const { return text_.empty(); }
  void skip(std::string_view characters) {
    text_.remove_prefix(std::min(text_.find_first_not_of(characters), text_.size()));
  }
  std::string_view take_until(std::string_view characters) {
    const std::string_view taken = text_.substr(0, text_.find_first_of(characters));
    text_.remove_prefix(taken.size());
    return taken;
  }
  bool take(char c) {
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  // Behind the opening quote: the text up to the closing one, without its backslashes.
  std::string take_quoted() {
    std::string value;
    while (!text_.empty() && !take('"')) {
      if (text_.front() == '\\' && text_.size() > 1) text_.remove_prefix(1);
      value += text_.front();
      text_.remove_prefix(1);
    }
    return value;
  }

 private:
  std::string_view text_;
};

void add_scopes(Challenge& challenge, std::string_view text) {
  Scanner scanner(text);
  for (scanner.skip(" "); !scanner.is_at_end(); scanner.skip(" ")) {
    const std::string_view scope = scanner.take_until(" ");
    if (challenge.scopes.size() < kMaxScopes) challenge.scopes.emplace_back(scope);
  }
}

// Null for what is no JSON, or too deep to be anything of ours.
Json parse_reply(std::string_view text) {
  if (text.size() > kMaxReplyBytes) return nullptr;
  int depth = 0, deepest = 0;
  for (const char c : text) {  // those in strings are counted, too: nobody has so many
    if (c == '{' || c == '[') deepest = std::max(deepest, ++depth);
    if (c == '}' || c == ']') --depth;
  }
  if (deepest > kMaxDepth) return nullptr;
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  return json.is_discarded() ? Json(nullptr) : json;
}

std::string string_at(const Json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

Challenge parse_challenge(std::string_view header) {
  Challenge challenge;
  Scanner scanner(header);
  scanner.skip(" \t");
  challenge.scheme = lowered(scanner.take_until(" \t"));
  while (true) {
    scanner.skip(" \t,");
    if (scanner.is_at_end()) return challenge;
    const std::string key = lowered(scanner.take_until("=, \t"));
    scanner.skip(" \t");
    if (!scanner.take('=')) continue;
    scanner.skip(" \t");
    const std::string value =
        scanner.take('"') ? scanner.take_quoted() : std::string(scanner.take_until(", \t"));
    if (key == "realm") challenge.realm = value;
    if (key == "service") challenge.service = value;
    if (key == "scope") add_scopes(challenge, value);
  }
}

std::string parse_token(std::string_view json_text) {
  const Json json = parse_reply(json_text);
  std::string token = string_at(json, "token");
  if (token.empty()) token = string_at(json, "access_token");
  const auto is_plain = [](char c) { return c > ' ' && c < 0x7f; };
  if (token.empty() || token.size() > kMaxTokenBytes ||
      !std::all_of(token.begin(), token.end(), is_plain)) {
    throw Error(ErrorCode::kCorruptData, "the registry's token service gave no token");
  }
  return token;
}

std::string error_message(std::string_view body) {
  constexpr size_t kMaxMessage = 300;
  const Json json = parse_reply(body);
  std::string message;
  if (json.is_object() && json.contains("errors") && json["errors"].is_array() &&
      !json["errors"].empty()) {
    const Json& first = json["errors"].front();
    message = string_at(first, "message");
    if (message.empty()) message = string_at(first, "code");
  }
  if (message.empty()) message = string_at(json, "error");
  if (message.empty()) message = body.substr(0, body.find_first_of("\r\n"));
  message = printable(message.substr(0, kMaxMessage));
  return message;
}

bool parse_content_range(std::string_view header, ContentRange& range) {
  constexpr std::string_view kUnit = "bytes ";
  if (!header.starts_with(kUnit)) return false;
  const char* at = header.data() + kUnit.size();
  const char* const end = header.data() + header.size();
  const auto number = [&](unsigned long long& value, char behind) {
    const auto [stop, error] = std::from_chars(at, end, value);
    if (error != std::errc() || (behind != '\0' && (stop == end || *stop != behind))) return false;
    at = behind == '\0' ? stop : stop + 1;
    return true;
  };
  return number(range.first, '-') && number(range.last, '/') && number(range.total, '\0') &&
         at == end && range.first <= range.last && range.last < range.total;
}

}  // namespace sluice::registry
