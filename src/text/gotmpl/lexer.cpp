#include "text/gotmpl/lexer.h"

#include <algorithm>
#include <charconv>

#include "text/unicode.h"

namespace sluice::text::gotmpl {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";

bool is_space(char c) { return kSpaces.find(c) != kSpaces.npos; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
// Letters beyond ASCII count as such, whatever they are.
bool is_name_char(char c) {
  return c == '_' || is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         static_cast<unsigned char>(c) >= 0x80;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    while (position_ < source_.size()) {
      lex_text();
      if (position_ < source_.size()) lex_action();
    }
    add(TokenType::kEnd);
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { throw TemplateError(line_, message); }

  bool at(std::string_view text) const { return source_.substr(position_).starts_with(text); }
  char peek(size_t ahead = 0) const {
    return position_ + ahead < source_.size() ? source_[position_ + ahead] : '\0';
  }
  void skip(size_t size) {
    const std::string_view skipped = source_.substr(position_, size);
    line_ += static_cast<int>(std::count(skipped.begin(), skipped.end(), '\n'));
    position_ += skipped.size();
  }
  Token& add(TokenType type, std::string text = {}) {
    Token token;
    token.type = type;
    token.line = line_;
    token.has_space_before = has_space_;
    token.text = std::move(text);
    tokens_.push_back(std::move(token));
    has_space_ = false;
    return tokens_.back();
  }

  // " -}}" trims what follows, "{{- " what came before.
  bool at_trimmed_close() const {
    return is_space(peek()) && peek(1) == '-' && peek(2) == '}' && peek(3) == '}';
  }
  bool opens_trimmed(size_t open) const {
    return open + 3 < source_.size() && source_[open + 2] == '-' && is_space(source_[open + 3]);
  }

  void lex_text() {
    if (trims_next_) {
      while (position_ < source_.size() && is_space(source_[position_])) skip(1);
    }
    trims_next_ = false;
    const size_t open = std::min(source_.find("{{", position_), source_.size());
    std::string_view text = source_.substr(position_, open - position_);
    if (open < source_.size() && opens_trimmed(open)) {
      text = text.substr(0, text.find_last_not_of(kSpaces) + 1);
    }
    if (!text.empty()) add(TokenType::kText, std::string(text));
    skip(open - position_);
  }

  void lex_action() {
    const int first_line = line_;
    const bool is_trimmed = opens_trimmed(position_);
    const size_t mark = is_trimmed ? 4 : 2;  // with the marker's space
    if (source_.substr(position_ + mark).starts_with("/*")) return lex_comment(mark);
    has_space_ = false;
    add(TokenType::kOpen);
    skip(mark);
    for (;;) {
      if (position_ >= source_.size()) throw TemplateError(first_line, "unclosed action");
      if (at_trimmed_close()) {
        skip(2);
        trims_next_ = true;
      }
      if (at("}}")) break;
      lex_token();
    }
    add(TokenType::kClose);
    skip(2);
  }

  void lex_comment(size_t mark) {
    const size_t end = source_.find("*/", position_ + mark + 2);
    if (end == source_.npos) fail("unclosed comment");
    skip(end + 2 - position_);
    if (at_trimmed_close()) {
      skip(2);
      trims_next_ = true;
    }
    if (!at("}}")) fail("comment ends before closing delimiter");
    skip(2);
  }

  std::string take_name() {
    const size_t begin = position_;
    while (position_ < source_.size() && is_name_char(source_[position_])) ++position_;
    return std::string(source_.substr(begin, position_ - begin));
  }

  void lex_token() {
    const char c = peek();
    if (is_space(c)) {
      skip(1);
      has_space_ = true;
    } else if (c == '"' || c == '`') {
      lex_string();
    } else if (c == '\'') {
      lex_character();
    } else if (is_digit(c) || ((c == '-' || c == '+') && (is_digit(peek(1)) || peek(1) == '.')) ||
               (c == '.' && is_digit(peek(1)))) {
      lex_number();
    } else if (c == '.') {
      ++position_;
      std::string name = take_name();
      add(name.empty() ? TokenType::kDot : TokenType::kField, name);
    } else if (c == '$') {
      ++position_;
      add(TokenType::kVariable, take_name());
    } else if (is_name_char(c)) {
      add(TokenType::kName, take_name());
    } else if (at(":=")) {
      add(TokenType::kSymbol, ":=");
      position_ += 2;
    } else if (std::string_view("|(),=").find(c) != std::string_view::npos) {
      add(TokenType::kSymbol, std::string(1, c));
      ++position_;
    } else {
      fail("unexpected character '" + std::string(1, c >= ' ' && c < 127 ? c : '?') +
           "' in an action");
    }
  }

  void lex_number() {
    const size_t begin = position_;
    if (peek() == '-' || peek() == '+') ++position_;
    const auto is_part = [&] {
      const char c = peek();
      const bool is_sign = (c == '+' || c == '-') && (source_[position_ - 1] | 0x20) == 'e' &&
                           !source_.substr(begin).starts_with("0x");
      return is_name_char(c) || c == '.' || is_sign;
    };
    while (position_ < source_.size() && is_part()) ++position_;
    const std::string_view all = source_.substr(begin, position_ - begin);
    std::string digits;
    for (const char c : all.substr(all.front() == '+' ? 1 : 0)) {
      if (c != '_') digits.push_back(c);
    }
    const bool is_negative = digits.starts_with('-');
    std::string_view rest = std::string_view(digits).substr(is_negative ? 1 : 0);
    int base = 10;
    if (rest.starts_with("0x") || rest.starts_with("0X")) base = 16;
    if (rest.starts_with("0b") || rest.starts_with("0B")) base = 2;
    if (rest.starts_with("0o") || rest.starts_with("0O")) base = 8;
    if (base != 10) rest.remove_prefix(2);
    int64_t integer = 0;
    const auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), integer, base);
    if (parsed.ec == std::errc() && parsed.ptr == rest.data() + rest.size()) {
      add(TokenType::kInteger).integer = is_negative ? -integer : integer;
      return;
    }
    double real = 0;
    const auto real_parsed = std::from_chars(digits.data(), digits.data() + digits.size(), real);
    if (real_parsed.ec != std::errc() || real_parsed.ptr != digits.data() + digits.size()) {
      fail("bad number \"" + std::string(utf8_prefix(all, 40)) + "\"");
    }
    add(TokenType::kFloat).real = real;
  }

  void lex_string() {
    const char quote = peek();
    size_t end = position_ + 1;
    while (end < source_.size() && source_[end] != quote) {
      if (quote == '"' && source_[end] == '\n') fail("unterminated quoted string");
      end += quote == '"' && source_[end] == '\\' ? 2 : 1;
    }
    if (end >= source_.size()) fail("unterminated quoted string");
    const std::string_view inner = source_.substr(position_ + 1, end - position_ - 1);
    add(TokenType::kString, quote == '"' ? unescape(inner) : std::string(inner));
    skip(end + 1 - position_);
  }

  void lex_character() {
    size_t end = position_ + 1;
    while (end < source_.size() && source_[end] != '\'') end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail("unterminated character constant");
    const std::string text = unescape(source_.substr(position_ + 1, end - position_ - 1));
    size_t at = 0;
    const char32_t code = text.empty() ? 0 : next_code_point(text, at);
    if (text.empty() || at != text.size()) fail("malformed character constant");
    add(TokenType::kInteger).integer = static_cast<int64_t>(code);
    skip(end + 1 - position_);
  }

  std::string unescape(std::string_view text) const {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\') {
        out.push_back(text[i]);
        continue;
      }
      if (++i >= text.size()) fail("a string ends in a backslash");
      constexpr std::string_view kLetters = "abfnrtv\\\"'", kMeant = "\a\b\f\n\r\t\v\\\"'";
      const size_t letter = kLetters.find(text[i]);
      if (letter != kLetters.npos) {
        out.push_back(kMeant[letter]);
        continue;
      }
      const bool is_octal = is_digit(text[i]);
      const size_t size = text[i] == 'x' ? 2 : text[i] == 'u' ? 4 : text[i] == 'U' ? 8 : 3;
      if (!is_octal && size == 3) fail("unknown escape in a string");
      const std::string_view digits = text.substr(i + (is_octal ? 0 : 1), size);
      uint32_t code = 0;
      const auto parsed =
          std::from_chars(digits.data(), digits.data() + digits.size(), code, is_octal ? 8 : 16);
      const bool is_byte = size <= 3;
      if (digits.size() != size || parsed.ec != std::errc() || parsed.ptr != digits.data() + size ||
          code > (is_byte ? 0xFFu : 0x10FFFFu)) {
        fail("bad escape in a string");
      }
      if (is_byte) {
        out.push_back(static_cast<char>(code));
      } else {
        append_utf8(out, code);
      }
      i += size - (is_octal ? 1 : 0);
    }
    return out;
  }

  std::string_view source_;
  size_t position_ = 0;
  int line_ = 1;
  bool trims_next_ = false;
  bool has_space_ = false;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace sluice::text::gotmpl
