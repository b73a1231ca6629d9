#include "grammar/regex.h"

#include "grammar_fixture.h"

namespace sluice::grammar {
namespace {

using testing::accepts;
using testing::error_of;
using ::testing::HasSubstr;
using testing::regex;

bool matches_whole(std::string_view pattern, std::string_view text) {
  return accepts(regex(pattern), text);
}

bool is_found(std::string_view pattern, std::string_view text) {
  Work work;
  return to_dfa(parse_regex(pattern, work), Match::kSearch, CharSpelling::kPlain, work)
      .accepts(text);
}

TEST(Regex, MatchesTheWholeText) {
  struct Case {
    std::string_view pattern, text;
    bool matches;
  };
  const Case cases[] = {
      {"abc", "abc", true},
      {"abc", "abcd", false},
      {"a|bc", "bc", true},
      {"(a|b)*c", "ababc", true},
      {"(?:ab){2,3}", "abab", true},
      {"(?:ab){2,3}", "ab", false},
      {"(?:ab){2,3}", "abababab", false},
      {"a{2,}", "aaaa", true},
      {"a{2,}", "a", false},
      {"[^a-c]", "d", true},
      {"[^a-c]", "b", false},
      {"[a\\-z]+", "a-z", true},
      {"[-a]", "-", true},
      {"\\d{3}-\\w+", "123-ab_9", true},
      {"\\x41\\u00e9\\u{1F600}", "Aé😀", true},
      {".", "日", true},
      {".", "\n", false},
      {"a*?b+?", "aab", true},
      {"^ab$", "ab", true},
      {"(?<year>\\d{4})", "2024", true},
      {"a{,2}", "a{,2}", true},
      {"\\.\\*\\/", ".*/", true},
      {"", "", true},
      {"(|a)b", "b", true},
      {"(a*)*", "aaa", true},
      {"\\p{Lu}\\p{L}*", "Éa", true},
      {"\\p{Lu}", "a", false},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(matches_whole(c.pattern, c.text), c.matches) << c.pattern << " on " << c.text;
  }
}

TEST(Regex, IsFoundAnywhereUnlessItSaysWhere) {
  EXPECT_TRUE(is_found("b", "abc"));
  EXPECT_FALSE(is_found("^b", "abc"));
  EXPECT_FALSE(is_found("b$", "abc"));
  EXPECT_TRUE(is_found("^abc$", "abc"));
  EXPECT_TRUE(is_found("^a|c$", "xxc"));
  EXPECT_TRUE(is_found("^$", ""));
  EXPECT_FALSE(is_found("^$", "a"));
  EXPECT_TRUE(is_found("(^|x)b", "axb"));
  EXPECT_FALSE(is_found("(^|x)b", "ab"));
}

// What dialects take differently is left out on both sides.
TEST(Regex, TakesOfClassesWhatAllDialectsTake) {
  EXPECT_FALSE(matches_whole("\\d", "٣"));  // Python's
  EXPECT_FALSE(matches_whole("\\D", "٣"));  // ECMAScript's
  EXPECT_FALSE(matches_whole("[^\\d]", "٣"));
  EXPECT_FALSE(matches_whole("\\w", "é"));
  EXPECT_FALSE(matches_whole("\\W", "é"));
  EXPECT_TRUE(matches_whole("\\S", "é"));
  EXPECT_FALSE(matches_whole("\\S", "\u00A0"));
}

TEST(Regex, NamesWhatItRefuses) {
  struct Case {
    std::string_view pattern, message;
  };
  const Case cases[] = {
      {"(?=a)b", "look-around"},
      {"(?<!a)b", "look-around"},
      {"(a)\\1", "a back-reference"},
      {"\\bword", "a word boundary"},
      {"(?i)a", "flags"},
      {"a++", "possessive"},
      {"\\p{Greek}", "\\p{Greek}"},
      {"[a", "a [ without its ]"},
      {"(a", "a ( without its )"},
      {"a)", "a ) without its ("},
      {"*a", "nothing stands before a count"},
      {"a{3,2}", "end is before its beginning"},
      {"a^b", "nothing can satisfy"},
      {"[z-a]", "end is before its beginning"},
      {"\\", "ends too early"},
      {"a{99999}", "a count above"},
      {"a**", "a count of a count"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(error_of({SourceKind::kRegex, std::string(c.pattern)}), HasSubstr(c.message))
        << c.pattern;
  }
}

TEST(Regex, BoundsWhatAPatternMayCost) {
  EXPECT_THAT(error_of({SourceKind::kRegex, "(a|b)*a(a|b){30}"}), HasSubstr("too large"));
  EXPECT_THAT(error_of({SourceKind::kRegex, "((a{1000}){1000}){1000}"}), HasSubstr("too large"));
  EXPECT_THAT(error_of({SourceKind::kRegex, std::string(500, '(') + std::string(500, ')')}),
              HasSubstr("nested"));
  EXPECT_THAT(error_of({SourceKind::kRegex, "[^a]"}), "");
}

TEST(Regex, StopsWithItsWork) {
  Work work(100'000, {});
  EXPECT_THROW(compile_rules({SourceKind::kRegex, "(a|b)*a(a|b){12}"}, work), Error);
}

TEST(CodeSet, ComplementsAndJoins) {
  const CodeSet set = {{'a', 'c'}, {'d', 'f'}, {'x', 'x'}};
  ASSERT_EQ(set.ranges().size(), 2u);
  EXPECT_TRUE(set.contains('e'));
  EXPECT_FALSE(set.contains('g'));
  const CodeSet other = set.complement();
  for (char32_t code = 0; code < 0x300; ++code) {
    EXPECT_NE(set.contains(code), other.contains(code)) << int(code);
  }
  EXPECT_FALSE(other.contains(0xD800));  // surrogates are no characters
  EXPECT_TRUE(other.contains(kLastCode));
  EXPECT_TRUE(other.complement().ranges().size() == 2);
}

// Every character in exactly one sequence, and nothing else.
TEST(CodeSet, SplitsIntoUtf8) {
  const CodeRange ranges[] = {{0, kLastCode}, {0x7F, 0x80}, {0x7FF, 0x10000}, {0xE9, 0x10FFF0}};
  for (const CodeRange range : ranges) {
    Work work;
    Nfa nfa(work);
    const int from = nfa.add_state();
    const int to = nfa.add_state();
    const CodeSet set = {range};
    nfa.add_characters(from, set, CharSpelling::kPlain, to);
    const Dfa dfa = Dfa::from_nfa(nfa, to);
    for (char32_t code = 0; code <= kLastCode; code += code < 0x3000 ? 1 : 37) {
      if (code >= 0xD800 && code <= 0xDFFF) continue;
      std::string bytes;
      text::append_utf8(bytes, code);
      ASSERT_EQ(dfa.accepts(bytes), set.contains(code)) << int(code);
    }
    EXPECT_FALSE(dfa.accepts("\xED\xA0\x80"));  // a surrogate
    EXPECT_FALSE(dfa.accepts("\xC0\x80"));      // overlong
  }
}

}  // namespace
}  // namespace sluice::grammar
