#include "text/jinja/lexer.h"

#include <algorithm>
#include <charconv>

#include "text/jinja/unicode.h"

namespace sluice::text::jinja {

namespace {

std::string normalize_newlines(std::string_view source) {
  std::string result;
  result.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      result.push_back(source[i]);
    } else {
      result.push_back('\n');
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (!result.empty() && result.back() == '\n') result.pop_back();
  return result;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

size_t digits_length(std::string_view text) {
  return std::min(text.find_first_not_of("0123456789"), text.size());
}

// Length of "1.5", "1e9" or "1.5e-9" at the start of `text`; 0 when no float stands there.
size_t float_length(std::string_view text) {
  size_t length = digits_length(text);
  const size_t whole = length;
  if (length + 1 < text.size() && text[length] == '.' && is_digit(text[length + 1])) {
    length += 1 + digits_length(text.substr(length + 1));
  }
  if (length < text.size() && (text[length] == 'e' || text[length] == 'E')) {
    size_t exponent = length + 1;
    if (exponent < text.size() && (text[exponent] == '+' || text[exponent] == '-')) ++exponent;
    const size_t digits = digits_length(text.substr(exponent));
    if (digits > 0) length = exponent + digits;
  }
  return length == whole ? 0 : length;
}

// A string literal without its quotes, its escapes replaced as Python does. Returns what is wrong,
// or "".
std::string unescape(std::string_view in, std::string& out) {
  static constexpr std::string_view kNames = "\\'\"abfnrtv0";
  static constexpr std::string_view kValues("\\'\"\a\b\f\n\r\t\v\0", 11);
  for (size_t i = 0; i < in.size(); ++i) {
    if (in[i] != '\\' || i + 1 == in.size()) {
      out.push_back(in[i]);
      continue;
    }
    const char c = in[++i];
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits > 0) {
      const std::string_view code = in.substr(i + 1, digits);
      unsigned value = 0;
      const auto [end, error] = std::from_chars(code.data(), code.data() + code.size(), value, 16);
      if (code.size() != digits || error != std::errc() || end != code.data() + digits) {
        return std::string("truncated \\") + c + " escape";
      }
      if (value > 0x10FFFF) return "illegal Unicode character";
      append_utf8(out, value);
      i += digits;
    } else if (const size_t at = kNames.find(c); at != std::string_view::npos) {
      out.push_back(kValues[at]);
    } else if (c == 'N' || is_digit(c)) {
      return std::string("the escape \\") + c + " is not supported";
    } else if (c != '\n') {  // which goes with its backslash
      out.push_back('\\');
      out.push_back(c);
    }
  }
  return "";
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_newlines(source)) {}

  std::vector<Token> run() {
    while (position_ < source_.size()) lex_root();
    add(TokenType::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { throw SyntaxError(message, line_); }
  std::string_view rest() const { return std::string_view(source_).substr(position_); }
  bool at(std::string_view text) const { return rest().substr(0, text.size()) == text; }

  void add(TokenType type, std::string_view text) {
    Token token;
    token.type = type;
    token.line = line_;
    token.text = text;
    tokens_.push_back(std::move(token));
  }

  // Moves on to `end`, counting lines and remembering whether a new line starts there.
  void advance_to(size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(position_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    if (end > position_) line_starting_ = source_[end - 1] == '\n';
    position_ = end;
  }

  size_t skip_space(size_t position) const {
    return source_.size() - strip_left(std::string_view(source_).substr(position), nullptr).size();
  }

  // The text before a tag: cut by the tag's sign ('-', '+' or 0), or by lstrip_blocks.
  void add_data(std::string_view text, char sign, bool lstrip) {
    if (sign == '-') {
      text = strip_right(text, nullptr);
    } else if (sign != '+' && lstrip) {
      size_t line_start = text.rfind('\n') + 1;  // npos + 1 is 0
      if ((line_start > 0 || line_starting_) && line_start < text.size() &&
          strip_left(text.substr(line_start), nullptr).empty()) {
        text = text.substr(0, line_start);
      }
    }
    if (!text.empty()) add(TokenType::kData, text);
  }

  char sign_at(size_t position) const {
    char c = position < source_.size() ? source_[position] : '\0';
    return c == '-' || c == '+' ? c : '\0';
  }

  // End of "{% raw %}" that starts at `start`, or 0 when it is another tag.
  size_t raw_begin_end(size_t start) const {
    size_t at_word = skip_space(start + 2 + (sign_at(start + 2) != 0));
    if (source_.compare(at_word, 3, "raw") != 0) return 0;
    size_t end = skip_space(at_word + 3);
    if (source_.compare(end, 3, "-%}") == 0) return skip_space(end + 3);
    return source_.compare(end, 2, "%}") == 0 ? end + 2 : 0;
  }

  // End of the tag end at `position` ("%}", "-%}", "+%}" with what they trim), or 0.
  size_t tag_end(size_t position, std::string_view close) const {
    std::string_view text = std::string_view(source_).substr(position);
    if (text.empty()) return 0;
    if (text.substr(0, 2) == close) {
      bool newline = text.size() > 2 && text[2] == '\n';
      return position + (newline ? 3 : 2);
    }
    if (text.substr(1, 2) != close) return 0;
    if (text[0] == '+') return position + 3;
    return text[0] == '-' ? skip_space(position + 3) : 0;
  }

  void lex_root() {
    size_t start = position_;
    while (true) {
      start = source_.find('{', start);
      if (start == std::string::npos || start + 1 >= source_.size()) {
        add_data(rest(), '+', false);
        advance_to(source_.size());
        return;
      }
      char next = source_[start + 1];
      if (next == '{' || next == '%' || next == '#') break;
      ++start;
    }
    char kind = source_[start + 1];
    char sign = sign_at(start + 2);
    add_data(std::string_view(source_).substr(position_, start - position_), sign, kind != '{');
    size_t raw_end = kind == '%' ? raw_begin_end(start) : 0;
    advance_to(start);
    if (raw_end != 0) {
      advance_to(raw_end);
      lex_raw();
      return;
    }
    size_t inside = start + 2 + (sign != 0);
    if (kind == '#') {
      advance_to(inside);
      lex_comment();
    } else {
      add(kind == '{' ? TokenType::kVariableBegin : TokenType::kBlockBegin, "");
      advance_to(inside);
      lex_tag(kind == '{');
    }
  }

  void lex_comment() {
    for (size_t i = position_; (i = source_.find('#', i)) != std::string::npos; ++i) {
      bool signed_end = i > position_ && sign_at(i - 1) != 0;
      size_t end = tag_end(signed_end ? i - 1 : i, "#}");
      if (end != 0) {
        advance_to(end);
        return;
      }
    }
    fail("Missing end of comment tag");
  }

  void lex_raw() {
    for (size_t i = position_; (i = source_.find("{%", i)) != std::string::npos; ++i) {
      char sign = sign_at(i + 2);
      size_t at_word = skip_space(i + 2 + (sign != 0));
      if (source_.compare(at_word, 6, "endraw") != 0) continue;
      size_t end = tag_end(skip_space(at_word + 6), "%}");
      if (end == 0) continue;
      add_data(std::string_view(source_).substr(position_, i - position_), sign, true);
      advance_to(end);
      return;
    }
    fail("Missing end of raw directive");
  }

  void lex_tag(bool is_variable) {
    std::string open;  // closing braces still to come
    while (position_ < source_.size()) {
      if (open.empty()) {
        size_t end = is_variable ? variable_end() : tag_end(position_, "%}");
        if (end != 0) {
          add(is_variable ? TokenType::kVariableEnd : TokenType::kBlockEnd, "");
          advance_to(end);
          return;
        }
      }
      lex_expression_token(open);
    }
  }

  size_t variable_end() const {
    if (at("-}}")) return skip_space(position_ + 3);
    return at("}}") ? position_ + 2 : 0;
  }

  void lex_expression_token(std::string& open) {
    size_t after_space = skip_space(position_);
    if (after_space > position_) {
      advance_to(after_space);
      return;
    }
    char c = source_[position_];
    if (is_digit(c)) return lex_number();
    if (is_name_start(c)) {
      size_t end = position_ + 1;
      while (end < source_.size() && (is_name_start(source_[end]) || is_digit(source_[end]))) ++end;
      add(TokenType::kName, rest().substr(0, end - position_));
      return advance_to(end);
    }
    if (c == '\'' || c == '"') return lex_string(c);
    lex_operator(open);
  }

  void lex_number() {
    Token token;
    token.line = line_;
    bool after_dot = position_ > 0 && source_[position_ - 1] == '.';
    size_t length = after_dot ? 0 : float_length(rest());
    const bool is_float = length > 0;
    if (!is_float) length = digits_length(rest());
    const char* begin = source_.data() + position_;
    token.type = is_float ? TokenType::kFloat : TokenType::kInteger;
    const auto error = is_float ? std::from_chars(begin, begin + length, token.real).ec
                                : std::from_chars(begin, begin + length, token.integer).ec;
    if (error != std::errc()) fail("a number does not fit 64 bits");
    token.text = rest().substr(0, length);
    tokens_.push_back(std::move(token));
    advance_to(position_ + length);
  }

  void lex_string(char quote) {
    size_t end = position_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail(std::string("unexpected char '") + quote + "'");
    std::string value;
    std::string problem =
        unescape(std::string_view(source_).substr(position_ + 1, end - position_ - 1), value);
    if (!problem.empty()) fail(problem);
    add(TokenType::kString, value);
    advance_to(end + 1);
  }

  void lex_operator(std::string& open) {
    static constexpr std::string_view kOperators[] = {
        "**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (std::string_view op : kOperators) {
      if (!at(op)) continue;
      balance(op[0], open);
      add(TokenType::kOperator, op);
      return advance_to(position_ + op.size());
    }
    size_t position = position_;
    next_code_point(source_, position);
    fail("unexpected char '" + source_.substr(position_, position - position_) + "'");
  }

  void balance(char op, std::string& open) const {
    if (op == '{') open.push_back('}');
    if (op == '(') open.push_back(')');
    if (op == '[') open.push_back(']');
    if (op != '}' && op != ')' && op != ']') return;
    if (open.empty()) fail(std::string("unexpected '") + op + "'");
    if (open.back() != op) {
      fail(std::string("unexpected '") + op + "', expected '" + open.back() + "'");
    }
    open.pop_back();
  }

  const std::string source_;
  size_t position_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace sluice::text::jinja
