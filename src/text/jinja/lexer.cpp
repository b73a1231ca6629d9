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
    if (source[i] == '\n' && i > 0 && source[i - 1] == '\r') continue;  // of one "\r\n"
    result.push_back(source[i] == '\r' ? '\n' : source[i]);
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
  std::string_view from(size_t position) const {
    return std::string_view(source_).substr(position);
  }
  std::string_view rest() const { return from(position_); }
  size_t skip_space(size_t position) const {
    return source_.size() - strip_left(from(position)).size();
  }

  void add(TokenType type, std::string_view text) {
    tokens_.push_back({type, line_, std::string(text), {}});
  }

  // Moves on to `end`, counting lines and remembering whether a new line starts there.
  void advance_to(size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(position_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    if (end > position_) line_starting_ = source_[end - 1] == '\n';
    position_ = end;
  }

  // The text before a tag: cut by the tag's sign ('-', '+' or 0), or by lstrip_blocks.
  void add_data(std::string_view text, char sign, bool lstrip) {
    if (sign == '-') {
      text = strip_right(text);
    } else if (sign != '+' && lstrip) {
      const size_t line_start = text.rfind('\n') + 1;  // npos + 1 is 0
      const bool is_indent = strip_left(text.substr(line_start)).empty();
      if (is_indent && (line_start > 0 || line_starting_)) text = text.substr(0, line_start);
    }
    if (!text.empty()) add(TokenType::kData, text);
  }

  char sign_at(size_t position) const {
    const char c = position < source_.size() ? source_[position] : '\0';
    return c == '-' || c == '+' ? c : '\0';
  }

  // What stands behind `word`, with which the tag at `start` begins; 0 when it is another tag.
  size_t behind_word(size_t start, std::string_view word) const {
    const size_t at = skip_space(start + 2 + (sign_at(start + 2) != 0));
    return from(at).starts_with(word) ? skip_space(at + word.size()) : 0;
  }

  // End of the tag end at `position` ("%}", "-%}", "+%}" with what they trim), or 0.
  size_t tag_end(size_t position, std::string_view close) const {
    const std::string_view text = from(position);
    if (text.starts_with(close)) return position + (text.substr(2, 1) == "\n" ? 3 : 2);
    if (text.empty() || text.substr(1, 2) != close) return 0;
    if (text[0] == '+') return position + 3;
    return text[0] == '-' ? skip_space(position + 3) : 0;
  }

  void lex_root() {
    const auto is_tag = [&](size_t at) {
      return at + 1 < source_.size() && std::string_view("{%#").find(source_[at + 1]) < 3;
    };
    size_t start = source_.find('{', position_);
    while (start != std::string::npos && !is_tag(start)) start = source_.find('{', start + 1);
    if (start == std::string::npos) {
      add_data(rest(), '+', false);
      return advance_to(source_.size());
    }
    const char kind = source_[start + 1], sign = sign_at(start + 2);
    add_data(rest().substr(0, start - position_), sign, kind != '{');
    advance_to(start);
    if (const size_t behind = kind == '%' ? behind_word(start, "raw") : 0) {
      const std::string_view close = from(behind);
      const bool trims = close.starts_with("-%}");
      const size_t begin = trims ? skip_space(behind + 3) : behind + 2;
      if (trims || close.starts_with("%}")) return lex_raw(begin);
    }
    if (kind != '#') add(kind == '{' ? TokenType::kVariableBegin : TokenType::kBlockBegin, "");
    advance_to(start + 2 + (sign != 0));
    return kind == '#' ? lex_comment() : lex_tag(kind == '{');
  }

  void lex_comment() {
    for (size_t i = position_; (i = source_.find('#', i)) != std::string::npos; ++i) {
      const bool is_signed = i > position_ && sign_at(i - 1) != 0;
      if (const size_t end = tag_end(is_signed ? i - 1 : i, "#}")) return advance_to(end);
    }
    fail("Missing end of comment tag");
  }

  void lex_raw(size_t begin) {
    advance_to(begin);
    for (size_t i = position_; (i = source_.find("{%", i)) != std::string::npos; ++i) {
      const size_t behind = behind_word(i, "endraw");
      const size_t end = behind != 0 ? tag_end(behind, "%}") : 0;
      if (end == 0) continue;
      add_data(rest().substr(0, i - position_), sign_at(i + 2), true);
      return advance_to(end);
    }
    fail("Missing end of raw directive");
  }

  void lex_tag(bool is_variable) {
    std::string open;  // closing braces still to come
    while (position_ < source_.size()) {
      const size_t end = !open.empty() ? 0
                         : is_variable ? variable_end()
                                       : tag_end(position_, "%}");
      if (end != 0) {
        add(is_variable ? TokenType::kVariableEnd : TokenType::kBlockEnd, "");
        return advance_to(end);
      }
      lex_expression_token(open);
    }
  }

  size_t variable_end() const {
    if (rest().starts_with("-}}")) return skip_space(position_ + 3);
    return rest().starts_with("}}") ? position_ + 2 : 0;
  }

  void lex_expression_token(std::string& open) {
    const size_t after_space = skip_space(position_);
    if (after_space > position_) return advance_to(after_space);
    const char c = source_[position_];
    if (is_digit(c)) return lex_number();
    if (c == '\'' || c == '"') return lex_string(c);
    if (!is_name_start(c)) return lex_operator(open);
    size_t end = position_ + 1;
    while (end < source_.size() && (is_name_start(source_[end]) || is_digit(source_[end]))) ++end;
    add(TokenType::kName, rest().substr(0, end - position_));
    advance_to(end);
  }

  void lex_number() {
    const bool is_index = position_ > 0 && source_[position_ - 1] == '.';  // l.0.1 has no float
    const size_t float_size = is_index ? 0 : float_length(rest());
    const std::string_view text =
        rest().substr(0, float_size > 0 ? float_size : digits_length(rest()));
    const char *begin = text.data(), *end = begin + text.size();
    int64_t integer = 0;
    double real = 0;
    const auto error = float_size > 0 ? std::from_chars(begin, end, real).ec
                                      : std::from_chars(begin, end, integer).ec;
    if (error != std::errc()) fail("a number does not fit 64 bits");
    add(TokenType::kNumber, text);
    tokens_.back().number = float_size > 0 ? Value(real) : Value(integer);
    advance_to(position_ + text.size());
  }

  void lex_string(char quote) {
    size_t end = position_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail(std::string("unexpected char '") + quote + "'");
    add(TokenType::kString, unescaped(rest().substr(1, end - position_ - 1)));
    advance_to(end + 1);
  }

  // A string literal without its quotes, its escapes replaced as Python does.
  std::string unescaped(std::string_view in) const {
    static constexpr std::string_view kNames = "\\'\"abfnrtv0";
    static constexpr std::string_view kValues("\\'\"\a\b\f\n\r\t\v\0", 11);
    std::string out;
    for (size_t i = 0; i < in.size(); ++i) {
      if (in[i] != '\\' || i + 1 == in.size()) {
        out.push_back(in[i]);
        continue;
      }
      const char c = in[++i];
      const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
      if (digits > 0) {
        const std::string_view code = in.substr(i + 1, digits);
        uint32_t value = 0;
        const auto end = std::from_chars(code.data(), code.data() + code.size(), value, 16).ptr;
        if (end != code.data() + digits) fail(std::string("truncated \\") + c + " escape");
        if (value > 0x10FFFF) fail("illegal Unicode character");
        append_utf8(out, value);
        i += digits;
      } else if (const size_t at = kNames.find(c); at != kNames.npos) {
        out.push_back(kValues[at]);
      } else if (c == 'N' || is_digit(c)) {
        fail(std::string("the escape \\") + c + " is not supported");
      } else if (c != '\n') {  // which goes with its backslash
        out.push_back('\\');
        out.push_back(c);
      }
    }
    return out;
  }

  void lex_operator(std::string& open) {
    static constexpr std::string_view kOperators[] = {
        "**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (std::string_view op : kOperators) {
      if (!rest().starts_with(op)) continue;
      balance(op[0], open);
      add(TokenType::kOperator, op);
      return advance_to(position_ + op.size());
    }
    size_t size = 0;
    next_code_point(rest(), size);
    fail("unexpected char '" + std::string(rest().substr(0, size)) + "'");
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
