#include "text/reply_parser/json_scanner.h"

#include "base/hex_digit.h"
#include "text/unicode.h"

namespace sluice::text::reply {
namespace {

bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

}  // namespace

bool is_white(char byte) { return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t'; }

size_t count_white(std::string_view text) {
  size_t count = 0;
  while (count < text.size() && is_white(text[count])) ++count;
  return count;
}

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(count_white(text));
  while (!text.empty() && is_white(text.back())) text.remove_suffix(1);
  return text;
}

JsonScanner::Status JsonScanner::push(char byte) {
  switch (within_) {
    case Within::kString:
    case Within::kEscape:
    case Within::kHex:
      return push_string(byte);
    case Within::kWord:
      if (byte != word_.front()) return Status::kBad;
      word_.remove_prefix(1);
      return word_.empty() ? end_value() : Status::kMore;
    case Within::kNumber:
      return push_number(byte);
    case Within::kNothing:
      break;
  }
  return is_white(byte) ? Status::kMore : push_structure(byte);
}

JsonScanner::Status JsonScanner::push_structure(char byte) {
  switch (expect_) {
    case Expect::kValueOrEnd:
      if (byte == ']') break;
      return begin_value(byte);
    case Expect::kValue:
      return begin_value(byte);
    case Expect::kKeyOrEnd:
      if (byte == '}') break;
      [[fallthrough]];
    case Expect::kKey:
      if (byte != '"') return Status::kBad;
      within_ = Within::kString;
      is_key_ = true;
      return Status::kMore;
    case Expect::kColon:
      expect_ = Expect::kValue;
      return byte == ':' ? Status::kMore : Status::kBad;
    case Expect::kCommaOrEnd:
      if (byte != ',') {
        if (byte != (objects_.back() ? '}' : ']')) return Status::kBad;
        break;
      }
      expect_ = objects_.back() ? Expect::kKey : Expect::kValue;
      return Status::kMore;
    case Expect::kDone:
      return Status::kBad;
  }
  objects_.pop_back();
  return end_value();
}

JsonScanner::Status JsonScanner::begin_value(char byte) {
  switch (byte) {
    case '{':
    case '[':
      if (objects_.size() == kMaxDepth) return Status::kBad;
      objects_.push_back(byte == '{');
      expect_ = byte == '{' ? Expect::kKeyOrEnd : Expect::kValueOrEnd;
      return Status::kMore;
    case '"':
      within_ = Within::kString;
      is_key_ = false;
      return Status::kMore;
    case 't':
      word_ = "rue";
      break;
    case 'f':
      word_ = "alse";
      break;
    case 'n':
      word_ = "ull";
      break;
    default:
      if (byte != '-' && !is_digit(byte)) return Status::kBad;
      number_ = byte == '-' ? Number::kMinus : byte == '0' ? Number::kZero : Number::kDigits;
      within_ = Within::kNumber;
      return Status::kMore;
  }
  within_ = Within::kWord;
  return Status::kMore;
}

JsonScanner::Status JsonScanner::end_value() {
  within_ = Within::kNothing;
  expect_ = objects_.empty() ? Expect::kDone : Expect::kCommaOrEnd;
  return objects_.empty() ? Status::kDone : Status::kMore;
}

JsonScanner::Status JsonScanner::push_string(char byte) {
  const auto code = static_cast<uint8_t>(byte);
  if (within_ == Within::kEscape) {
    constexpr std::string_view kEscapes = "\"\\/bfnrtu";
    if (kEscapes.find(byte) == std::string_view::npos) return Status::kBad;
    within_ = byte == 'u' ? Within::kHex : Within::kString;
    num_left_ = 4;
    return Status::kMore;
  }
  if (within_ == Within::kHex) {
    if (hex_digit(byte) < 0) return Status::kBad;
    if (--num_left_ == 0) within_ = Within::kString;
    return Status::kMore;
  }
  if (byte == '\\') {
    within_ = Within::kEscape;
  } else if (byte == '"') {
    if (!is_key_) return end_value();
    within_ = Within::kNothing;
    expect_ = Expect::kColon;
  } else if (code < 0x20 || code >= 0xF8) {  // a control, or no part of a character
    return Status::kBad;
  }
  return Status::kMore;
}

bool JsonScanner::advance_number(char byte) {
  const auto go = [&](Number next) {
    number_ = next;
    return true;
  };
  const bool is_e = byte == 'e' || byte == 'E';
  switch (number_) {
    case Number::kMinus:
      return is_digit(byte) && go(byte == '0' ? Number::kZero : Number::kDigits);
    case Number::kDigits:
      if (is_digit(byte)) return true;
      [[fallthrough]];
    case Number::kZero:
      if (byte == '.') return go(Number::kPoint);
      return is_e && go(Number::kE);
    case Number::kPoint:
      return is_digit(byte) && go(Number::kFraction);
    case Number::kFraction:
      if (is_digit(byte)) return true;
      return is_e && go(Number::kE);
    case Number::kE:
      if (byte == '+' || byte == '-') return go(Number::kSign);
      [[fallthrough]];
    case Number::kSign:
    case Number::kExponent:
      return is_digit(byte) && go(Number::kExponent);
  }
  return false;
}

bool JsonScanner::is_whole_number() const {
  return number_ == Number::kZero || number_ == Number::kDigits || number_ == Number::kFraction ||
         number_ == Number::kExponent;
}

JsonScanner::Status JsonScanner::push_number(char byte) {
  if (advance_number(byte)) return Status::kMore;
  if (!is_whole_number()) return Status::kBad;
  // The byte is behind the number, and none can be behind the whole value.
  if (end_value() == Status::kDone) return Status::kBad;
  return push(byte);
}

bool JsonScanner::finish() {
  if (within_ == Within::kNumber && is_whole_number()) end_value();
  return within_ == Within::kNothing && expect_ == Expect::kDone;
}

bool is_json(std::string_view text) {
  while (!text.empty() && is_white(text.back())) text.remove_suffix(1);
  JsonScanner scanner;
  for (size_t i = 0; i < text.size(); ++i) {
    const JsonScanner::Status status = scanner.push(text[i]);
    if (status == JsonScanner::Status::kBad) return false;
    if (status == JsonScanner::Status::kDone) return i + 1 == text.size();
  }
  return scanner.finish();
}

namespace {

// The four digits behind "\u"; -1 when there are none.
int read_hex(std::string_view text) {
  if (text.size() < 4) return -1;
  int value = 0;
  for (const char digit : text.substr(0, 4)) {
    if (hex_digit(digit) < 0) return -1;
    value = value * 16 + hex_digit(digit);
  }
  return value;
}

// Reads what follows "\u" and takes it from `text`. A surrogate alone becomes U+FFFD.
char32_t take_code(std::string_view& text) {
  const auto code = static_cast<char32_t>(read_hex(text));
  text.remove_prefix(4);
  if (code < 0xD800 || code > 0xDFFF) return code;
  const int low = code < 0xDC00 && text.starts_with("\\u") ? read_hex(text.substr(2)) : -1;
  if (low < 0xDC00 || low > 0xDFFF) return 0xFFFD;
  text.remove_prefix(6);
  return 0x10000 + ((code - 0xD800) << 10) + (static_cast<char32_t>(low) - 0xDC00);
}

void append_escaped(std::string& out, std::string_view& text) {
  const char kind = text.front();
  text.remove_prefix(1);
  switch (kind) {
    case 'u':
      append_utf8(out, take_code(text));
      return;
    case 'b':
      out += '\b';
      return;
    case 'f':
      out += '\f';
      return;
    case 'n':
      out += '\n';
      return;
    case 'r':
      out += '\r';
      return;
    case 't':
      out += '\t';
      return;
    default:
      out += kind;
  }
}

}  // namespace

std::optional<std::string> read_json_string(std::string_view json) {
  if (!json.starts_with('"') || !is_json(json)) return std::nullopt;
  std::string text;
  json.remove_prefix(1);
  while (json.front() != '"') {
    const char byte = json.front();
    json.remove_prefix(1);
    if (byte == '\\') {
      append_escaped(text, json);
    } else {
      text += byte;
    }
  }
  return text;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char byte : text) {
    constexpr char kDigits[] = "0123456789abcdef";
    if (byte == '"' || byte == '\\') {
      out += '\\';
      out += byte;
    } else if (byte == '\n') {
      out += "\\n";
    } else if (static_cast<uint8_t>(byte) < 0x20) {
      out += "\\u00";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    } else {
      out += byte;
    }
  }
  out += '"';
}

namespace {

// The end of the value that begins at `begin`, which a comma or a brace follows.
size_t end_of_value(std::string_view json, size_t begin) {
  size_t depth = 0;
  for (size_t i = begin; i < json.size(); ++i) {
    const char byte = json[i];
    if (byte == '"') {
      for (++i; json[i] != '"'; ++i) {
        if (json[i] == '\\') ++i;
      }
    } else if (byte == '{' || byte == '[') {
      ++depth;
    } else if (depth == 0 && (byte == ',' || byte == '}')) {
      return i;
    } else if (byte == '}' || byte == ']') {
      --depth;
    }
  }
  return json.size();
}

}  // namespace

std::optional<std::vector<JsonMember>> read_json_members(std::string_view json) {
  json = trimmed(json);
  if (!json.starts_with('{') || !is_json(json)) return std::nullopt;
  std::vector<JsonMember> members;
  for (size_t at = 1; at < json.size();) {
    const size_t quote = json.find_first_of("\"}", at);
    if (json[quote] == '}') break;
    size_t end = quote + 1;
    while (json[end] != '"') end += json[end] == '\\' ? 2 : 1;
    JsonMember& member = members.emplace_back();
    member.key = *read_json_string(json.substr(quote, end + 1 - quote));
    const size_t begin = json.find(':', end) + 1;
    at = end_of_value(json, begin);
    member.value = trimmed(json.substr(begin, at - begin));
  }
  return members;
}

}  // namespace sluice::text::reply
