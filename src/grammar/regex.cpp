#include "grammar/regex.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/hex_digit.h"
#include "text/unicode.h"

namespace sluice::grammar {
namespace {

using text::mask_of;

constexpr int kMaxRegexDepth = 100;
constexpr int kMaxRegexCount = 10'000;

// What \d, \w or \s stands for in every dialect, and in any.
struct ClassEscape {
  CodeSet in_all;
  CodeSet in_any;
};

const CodeSet& class_set(text::ClassMask mask) {
  static const CodeSet numbers = CodeSet::of_class(text::kNumbers);
  static const CodeSet letters = CodeSet::of_class(text::kLetters);
  static const CodeSet marks = CodeSet::of_class(text::kMarks);
  static const CodeSet spaces = CodeSet::of_class(text::kSpaces);
  static const CodeSet punctuation = CodeSet::of_class(text::kPunctuations);
  static const CodeSet symbols = CodeSet::of_class(text::kSymbols);
  static const CodeSet upper = CodeSet::of_class(mask_of(text::CharClass::kUpper));
  static const CodeSet lower = CodeSet::of_class(mask_of(text::CharClass::kLower));
  static const CodeSet nothing;
  if (mask == text::kNumbers) return numbers;
  if (mask == text::kLetters) return letters;
  if (mask == text::kMarks) return marks;
  if (mask == text::kSpaces) return spaces;
  if (mask == text::kPunctuations) return punctuation;
  if (mask == text::kSymbols) return symbols;
  if (mask == mask_of(text::CharClass::kUpper)) return upper;
  if (mask == mask_of(text::CharClass::kLower)) return lower;
  return nothing;
}

std::optional<ClassEscape> class_escape(char letter) {
  switch (letter) {
    case 'd':
      return ClassEscape{{{'0', '9'}}, class_set(text::kNumbers)};
    case 'w': {
      const CodeSet ascii = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
      CodeSet any = ascii;
      any.add(class_set(text::kNumbers));
      any.add(class_set(text::kLetters));
      any.add(class_set(text::kMarks));
      return ClassEscape{ascii, any};
    }
    case 's': {
      const CodeSet ascii = {{'\t', '\r'}, {' ', ' '}};
      CodeSet any = ascii;
      any.add(class_set(text::kSpaces));
      any.add({0x1C, 0x1F});
      any.add({0xFEFF, 0xFEFF});
      return ClassEscape{ascii, any};
    }
    default:
      return std::nullopt;
  }
}

class Parser {
 public:
  Parser(std::string_view pattern, Work& work) : pattern_(pattern), work_(work) {}

  Regex parse() {
    if (!text::is_utf8(pattern_)) fail("it is not UTF-8");
    Regex regex = parse_alternatives(0);
    if (!at_end()) fail("a ) without its (");
    return regex;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::kInvalidArgument, "invalid pattern " + quoted() + ": " + what);
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorCode::kUnsupported,
                "pattern " + quoted() + " has " + what + ", which is not supported");
  }
  std::string quoted() const {
    constexpr size_t kMaxQuote = 60;
    std::string shown(text::utf8_prefix(pattern_, kMaxQuote));
    if (shown.size() < pattern_.size()) shown += "...";
    return "\"" + shown + "\"";
  }

  bool at_end() const { return at_ == pattern_.size(); }
  char peek() const { return at_end() ? '\0' : pattern_[at_]; }
  bool next_is(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }
  bool take(std::string_view text) {
    if (!next_is(text)) return false;
    at_ += text.size();
    return true;
  }
  char32_t take_code() {
    if (at_end()) fail("it ends too early");
    return text::next_code_point(pattern_, at_);
  }

  Regex parse_alternatives(int depth) {
    if (depth > kMaxRegexDepth) refuse("too many nested groups");
    Regex alternatives{Regex::Kind::kAlternate};
    do {
      alternatives.parts.push_back(parse_sequence(depth));
    } while (take("|"));
    if (alternatives.parts.size() > 1) return alternatives;
    return std::move(alternatives.parts.front());
  }

  Regex parse_sequence(int depth) {
    Regex sequence{Regex::Kind::kConcat};
    while (!at_end() && peek() != '|' && peek() != ')') {
      work_.charge(64);
      Regex item = parse_item(depth);
      sequence.parts.push_back(parse_counts(std::move(item)));
    }
    return sequence;
  }

  Regex parse_item(int depth) {
    if (take("^")) return {Regex::Kind::kBegin};
    if (take("$")) return {Regex::Kind::kEnd};
    if (take("(")) return parse_group(depth);
    if (take("[")) return {Regex::Kind::kSet, parse_set()};
    if (take(".")) {
      return {Regex::Kind::kSet,
              CodeSet{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}.complement()};
    }
    if (take("\\")) return {Regex::Kind::kSet, parse_escape(false).in_all};
    if (peek() == '*' || peek() == '+' || peek() == '?') fail("nothing stands before a count");
    const char32_t code = take_code();
    return {Regex::Kind::kSet, {{code, code}}};
  }

  Regex parse_group(int depth) {
    if (take("?")) {
      if (next_is("=") || next_is("!") || next_is("<=") || next_is("<!")) refuse("look-around");
      if (take("P<") || take("<")) {
        while (!at_end() && peek() != '>') ++at_;
        if (!take(">")) fail("a group's name without its end");
      } else if (!take(":")) {
        refuse("flags or another extension in a group");
      }
    }
    Regex group = parse_alternatives(depth + 1);
    if (!take(")")) fail("a ( without its )");
    return group;
  }

  Regex parse_counts(Regex item) {
    while (true) {
      int min = 0, max = Regex::kUnlimited;
      if (take("*")) {
      } else if (take("+")) {
        min = 1;
      } else if (take("?")) {
        max = 1;
      } else if (!take_braces(min, max)) {
        return item;
      }
      if (item.kind == Regex::Kind::kBegin || item.kind == Regex::Kind::kEnd) {
        fail("an anchor with a count");
      }
      if (!take("?") && next_is("+")) refuse("a possessive count");
      Regex repeat{Regex::Kind::kRepeat};
      repeat.parts.push_back(std::move(item));
      repeat.min = min;
      repeat.max = max;
      item = std::move(repeat);
      if (peek() == '*' || peek() == '?' || peek() == '+') fail("a count of a count");
    }
  }

  // {2}, {2,} or {2,5}; other braces are themselves.
  bool take_braces(int& min, int& max) {
    const size_t begin = at_;
    if (!take("{")) return false;
    const auto low = take_count();
    const bool has_comma = take(",");
    const auto high = has_comma ? take_count() : low;
    if (!low || !take("}")) {
      at_ = begin;
      return false;
    }
    min = *low;
    max = high.value_or(Regex::kUnlimited);
    if (max != Regex::kUnlimited && max < min) fail("a count whose end is before its beginning");
    return true;
  }

  std::optional<int> take_count() {
    int count = 0;
    const size_t begin = at_;
    while (peek() >= '0' && peek() <= '9') {
      count = 10 * count + (pattern_[at_++] - '0');
      if (count > kMaxRegexCount) refuse("a count above " + std::to_string(kMaxRegexCount));
    }
    return at_ == begin ? std::nullopt : std::optional(count);
  }

  // Behind the backslash. What stands for one character is the same in all dialects.
  ClassEscape parse_escape(bool in_set) {
    const char32_t code = take_code();
    const char letter = code < 0x80 ? static_cast<char>(code) : '\0';
    if (const auto found = class_escape(letter)) return *found;
    if (letter == 'D' || letter == 'W' || letter == 'S') {
      const auto opposite = class_escape(static_cast<char>(letter - 'A' + 'a')).value();
      return {opposite.in_any.complement(), opposite.in_all.complement()};
    }
    if (letter == 'p' || letter == 'P') return parse_property(letter == 'P');
    if (!in_set && (letter == 'b' || letter == 'B')) refuse("a word boundary");
    if (!in_set && ((letter >= '1' && letter <= '9') || letter == 'k')) refuse("a back-reference");
    if (letter == 'A' || letter == 'Z' || letter == 'z' || letter == 'G') {
      refuse(std::string("the escape \\") + letter);
    }
    const char32_t one = parse_character_escape(code, in_set);
    return {{{one, one}}, {{one, one}}};
  }

  char32_t parse_character_escape(char32_t code, bool in_set) {
    switch (code) {
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'f':
        return '\f';
      case 'v':
        return '\v';
      case '0':
        return 0;
      case 'x':
        return parse_hex(2);
      case 'u':
        if (!take("{")) return parse_utf16();
        return parse_braced_hex();
      case 'b':
        if (in_set) return '\b';
        break;
      default:
        break;
    }
    const bool is_letter = (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z') ||
                           (code >= '1' && code <= '9');
    if (is_letter) refuse(std::string("the escape \\") + static_cast<char>(code));
    return code;
  }

  char32_t parse_hex(int num_digits) {
    char32_t value = 0;
    for (int i = 0; i < num_digits; ++i) {
      const int digit = hex_digit(peek());
      if (digit < 0) fail("an escape without its hexadecimal digits");
      value = 16 * value + static_cast<char32_t>(digit);
      ++at_;
    }
    return value;
  }

  char32_t parse_utf16() {
    const char32_t unit = parse_hex(4);
    if (unit < 0xD800 || unit > 0xDFFF) return unit;
    if (unit > 0xDBFF || !take("\\u")) refuse("half of a surrogate pair");
    const char32_t low = parse_hex(4);
    if (low < 0xDC00 || low > 0xDFFF) refuse("half of a surrogate pair");
    return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
  }

  char32_t parse_braced_hex() {
    char32_t value = 0;
    while (peek() != '}') {
      value = 16 * value + parse_hex(1);
      if (value > kLastCode) fail("an escape beyond Unicode");
    }
    ++at_;
    return value;
  }

  ClassEscape parse_property(bool is_negated) {
    if (!take("{")) fail("\\p without {}");
    const size_t begin = at_;
    while (!at_end() && peek() != '}') ++at_;
    const std::string_view name = pattern_.substr(begin, at_ - begin);
    if (!take("}")) fail("\\p{ without its end");
    struct Property {
      std::string_view name;
      text::ClassMask mask;
    };
    static constexpr std::array kProperties = {
        Property{"L", text::kLetters},
        Property{"Letter", text::kLetters},
        Property{"Lu", mask_of(text::CharClass::kUpper)},
        Property{"Ll", mask_of(text::CharClass::kLower)},
        Property{"M", text::kMarks},
        Property{"N", text::kNumbers},
        Property{"P", text::kPunctuations},
        Property{"S", text::kSymbols},
    };
    for (const Property& property : kProperties) {
      if (property.name != name) continue;
      const CodeSet& set = class_set(property.mask);
      if (is_negated) return {set.complement(), set.complement()};
      return {set, set};
    }
    refuse("the property \\p{" + std::string(name) + "}");
  }

  // Behind the bracket. What is left of a negated set is what no dialect takes for one of it.
  CodeSet parse_set() {
    const bool is_negated = take("^");
    CodeSet set;
    bool is_first = true;
    while (is_first ? !at_end() && (peek() != ']' || next_is("]]")) : !at_end() && peek() != ']') {
      if (is_first && peek() == ']') refuse("a set that begins with ]");
      is_first = false;
      work_.charge(64);
      ClassEscape low = parse_set_item();
      const bool is_one = low.in_all.ranges().size() == 1 &&
                          low.in_all.ranges()[0].first == low.in_all.ranges()[0].last;
      if (peek() == '-' && !next_is("-]") && is_one) {
        ++at_;
        const ClassEscape high = parse_set_item();
        const auto ends = high.in_all.ranges();
        if (ends.size() != 1 || ends[0].first != ends[0].last) fail("a range that ends in a class");
        const char32_t first = low.in_all.ranges()[0].first;
        if (ends[0].first < first) fail("a range whose end is before its beginning");
        set.add({first, ends[0].first});
        continue;
      }
      set.add(is_negated ? low.in_any : low.in_all);
    }
    if (!take("]")) fail("a [ without its ]");
    return is_negated ? set.complement() : set;
  }

  ClassEscape parse_set_item() {
    if (take("\\")) return parse_escape(true);
    if (next_is("[:") || next_is("&&") || next_is("--")) refuse("a set in a set");
    const char32_t code = take_code();
    return {{{code, code}}, {{code, code}}};
  }

  std::string_view pattern_;
  Work& work_;
  size_t at_ = 0;
};

}  // namespace

Regex parse_regex(std::string_view pattern, Work& work) { return Parser(pattern, work).parse(); }

void add_regex(Nfa& nfa, const Regex& regex, CharSpelling spelling, int from, int to) {
  switch (regex.kind) {
    case Regex::Kind::kSet:
      nfa.add_characters(from, regex.set, spelling, to);
      return;
    case Regex::Kind::kBegin:
      nfa.add_free_step(from, to, Nfa::Pass::kAtBegin);
      return;
    case Regex::Kind::kEnd:
      nfa.add_free_step(from, to, Nfa::Pass::kAtEnd);
      return;
    case Regex::Kind::kConcat: {
      for (const Regex& part : regex.parts) {
        const int next = nfa.add_state();
        add_regex(nfa, part, spelling, from, next);
        from = next;
      }
      nfa.add_free_step(from, to);
      return;
    }
    case Regex::Kind::kAlternate:
      for (const Regex& part : regex.parts) add_regex(nfa, part, spelling, from, to);
      return;
    case Regex::Kind::kRepeat: {
      // States of its own: loops must not be entered from outside.
      int at = nfa.add_state();
      nfa.add_free_step(from, at);
      const int num_copies = std::max(regex.min, regex.max);
      for (int i = 0; i < num_copies; ++i) {
        if (i >= regex.min) nfa.add_free_step(at, to);
        const int next = nfa.add_state();
        add_regex(nfa, regex.parts[0], spelling, at, next);
        at = next;
      }
      if (regex.max == Regex::kUnlimited) {
        const int loop = nfa.add_state();
        nfa.add_free_step(at, loop);
        add_regex(nfa, regex.parts[0], spelling, loop, loop);
        at = loop;
      }
      nfa.add_free_step(at, to);
      return;
    }
  }
}

Dfa to_dfa(const Regex& regex, Match match, CharSpelling spelling, Work& work) {
  Nfa nfa(work);
  const int begin = nfa.add_state();
  const int from = nfa.add_state();
  const int to = nfa.add_state();
  nfa.add_free_step(begin, from);
  if (match == Match::kSearch) {
    nfa.add_characters(from, CodeSet::all(), spelling, from);
    nfa.add_characters(to, CodeSet::all(), spelling, to);
  }
  const int matched = nfa.add_state();
  add_regex(nfa, regex, spelling, from, matched);
  nfa.add_free_step(matched, to);
  return Dfa::from_nfa(nfa, to);
}

Dfa whole_dfa(std::string_view pattern, CharSpelling spelling, Work& work) {
  return to_dfa(parse_regex(pattern, work), Match::kWhole, spelling, work);
}

}  // namespace sluice::grammar
