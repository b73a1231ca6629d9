#include "grammar/gbnf.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/hex_digit.h"
#include "text/unicode.h"

namespace sluice::grammar {
namespace {

constexpr size_t kMaxGbnfBytes = 1u << 20;
constexpr int kMaxGbnfDepth = 100;

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

class GbnfParser {
 public:
  GbnfParser(RulesBuilder& builder, std::string_view text) : builder_(builder), text_(text) {}

  NodeId parse() {
    if (text_.size() > kMaxGbnfBytes) fail("it is too long");
    if (!text::is_utf8(text_)) fail("it is not UTF-8");
    skip_space(true);
    while (!at_end()) parse_rule();
    for (const auto& [name, rule] : rules_) {
      if (!rule.is_defined) fail("rule \"" + name + "\" is named but not defined");
    }
    const auto root = rules_.find("root");
    if (root == rules_.end()) fail("there is no rule \"root\"");
    return root->second.node;
  }

 private:
  struct Rule {
    NodeId node = 0;
    bool is_defined = false;
  };

  [[noreturn]] void fail(const std::string& what) const {
    const auto line =
        1 + std::count(text_.begin(), text_.begin() + static_cast<ptrdiff_t>(at_), '\n');
    throw Error(ErrorCode::kInvalidArgument,
                "invalid grammar, line " + std::to_string(line) + ": " + what);
  }

  bool at_end() const { return at_ == text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[at_]; }
  bool take(std::string_view wanted) {
    if (!text_.substr(at_).starts_with(wanted)) return false;
    at_ += wanted.size();
    return true;
  }

  // A rule ends with its line, but within parentheses and behind "|" it goes on.
  void skip_space(bool with_lines) {
    while (!at_end()) {
      const char c = peek();
      if (c == '#') {
        while (!at_end() && peek() != '\n') ++at_;
      } else if (c == ' ' || c == '\t' || (with_lines && (c == '\n' || c == '\r'))) {
        ++at_;
      } else {
        return;
      }
    }
  }

  Rule& rule_named(const std::string& name) {
    const auto [at, is_new] = rules_.try_emplace(name);
    if (is_new) at->second.node = builder_.reference();
    return at->second;
  }

  std::string take_name() {
    const size_t begin = at_;
    while (is_name_character(peek())) ++at_;
    if (at_ == begin) fail("a rule's name is expected");
    return std::string(text_.substr(begin, at_ - begin));
  }

  void parse_rule() {
    const std::string name = take_name();
    skip_space(false);
    if (!take("::=")) fail("::= is expected behind the rule's name");
    skip_space(true);
    Rule& rule = rule_named(name);
    if (rule.is_defined) fail("rule \"" + name + "\" is defined twice");
    rule.is_defined = true;
    const NodeId reference = rule.node;
    builder_.bind(reference, parse_alternatives(0, false));
    if (!at_end() && peek() != '\n' && peek() != '\r') fail("the rule does not end here");
    skip_space(true);
  }

  NodeId parse_alternatives(int depth, bool in_group) {
    if (depth > kMaxGbnfDepth) fail("groups are nested too deeply");
    std::vector<NodeId> alternatives;
    do {
      skip_space(true);
      alternatives.push_back(parse_sequence(depth, in_group));
    } while (take("|"));
    return builder_.choice(alternatives);
  }

  NodeId parse_sequence(int depth, bool in_group) {
    std::vector<NodeId> parts;
    while (true) {
      skip_space(in_group);
      std::optional<NodeId> item = parse_item(depth);
      if (!item) return builder_.sequence(parts);
      parts.push_back(parse_counts(*item, in_group));
    }
  }

  std::optional<NodeId> parse_item(int depth) {
    if (take("\"")) return parse_literal();
    if (take("[")) return characters(parse_set());
    if (take(".")) return characters(CodeSet::all());
    if (take("(")) {
      const NodeId group = parse_alternatives(depth + 1, true);
      skip_space(true);
      if (!take(")")) fail(") is expected");
      return group;
    }
    if (is_name_character(peek())) return rule_named(take_name()).node;
    return std::nullopt;
  }

  NodeId parse_counts(NodeId item, bool in_group) {
    while (true) {
      skip_space(in_group);
      if (take("*")) {
        item = builder_.repeat(item, 0, kNoLimit);
      } else if (take("+")) {
        item = builder_.repeat(item, 1, kNoLimit);
      } else if (take("?")) {
        item = builder_.repeat(item, 0, 1);
      } else if (take("{")) {
        item = parse_braces(item);
      } else {
        return item;
      }
    }
  }

  NodeId parse_braces(NodeId item) {
    skip_space(false);
    const uint32_t min = peek() == ',' ? 0 : take_count();
    uint32_t max = min;
    skip_space(false);
    if (take(",")) {
      skip_space(false);
      max = peek() == '}' ? kNoLimit : take_count();
      skip_space(false);
    }
    if (!take("}")) fail("} is expected");
    if (max < min) fail("the count's end is before its beginning");
    return builder_.repeat(item, min, max);
  }

  uint32_t take_count() {
    uint32_t count = 0;
    const size_t begin = at_;
    while (peek() >= '0' && peek() <= '9') {
      count = 10 * count + static_cast<uint32_t>(text_[at_++] - '0');
      if (count > 1'000'000) fail("a count is too large");
    }
    if (at_ == begin) fail("a count is expected");
    return count;
  }

  NodeId parse_literal() {
    std::string bytes;
    while (!take("\"")) {
      if (at_end() || peek() == '\n') fail("a literal without its closing quote");
      text::append_utf8(bytes, take_character());
    }
    return builder_.literal(bytes);
  }

  CodeSet parse_set() {
    const bool is_negated = take("^");
    CodeSet set;
    while (!take("]")) {
      if (at_end() || peek() == '\n') fail("a set without its ]");
      const char32_t first = take_character();
      char32_t last = first;
      if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        last = take_character();
        if (last < first) fail("a range whose end is before its beginning");
      }
      set.add({first, last});
    }
    return is_negated ? set.complement() : set;
  }

  char32_t take_character() {
    if (!take("\\")) return text::next_code_point(text_, at_);
    if (at_end()) fail("the text ends within an escape");
    const char c = text_[at_++];
    switch (c) {
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'x':
        return take_hex(2);
      case 'u':
        return take_hex(4);
      case 'U':
        return take_hex(8);
      case '"':
      case '\\':
      case '[':
      case ']':
      case '-':
      case '^':
      case '/':
        return static_cast<char32_t>(c);
      default:
        fail(std::string("there is no escape \\") + c);
    }
  }

  char32_t take_hex(int num_digits) {
    char32_t code = 0;
    for (int i = 0; i < num_digits; ++i) {
      const int digit = hex_digit(peek());
      if (digit < 0) fail("an escape without its hexadecimal digits");
      code = 16 * code + static_cast<char32_t>(digit);
      ++at_;
    }
    if (code > kLastCode || (code >= 0xD800 && code <= 0xDFFF)) fail("an escape beyond Unicode");
    return code;
  }

  NodeId characters(const CodeSet& set) {
    Nfa nfa(builder_.work());
    const int from = nfa.add_state();
    const int to = nfa.add_state();
    nfa.add_characters(from, set, CharSpelling::kPlain, to);
    return builder_.regular(Dfa::from_nfa(nfa, to));
  }

  RulesBuilder& builder_;
  std::string_view text_;
  size_t at_ = 0;
  std::map<std::string, Rule> rules_;
};

}  // namespace

NodeId add_gbnf(RulesBuilder& builder, std::string_view text) {
  return GbnfParser(builder, text).parse();
}

}  // namespace sluice::grammar
