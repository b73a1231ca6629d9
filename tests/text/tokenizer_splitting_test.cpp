#define PCRE2_CODE_UNIT_WIDTH 8
#include <gtest/gtest.h>
#include <pcre2.h>

#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "text/pretokenizer.h"
#include "text/special_matcher.h"
#include "text/unicode.h"

// The hand-written splitters against the regular expressions that the models publish.
namespace sluice::text {
namespace {

const std::string kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const std::string kContractions = R"('[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const std::string kSpaceRules = R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
const std::string kUpper = R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])";
const std::string kLower = R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])";

std::string llama(const std::string& digits) {
  return kContractions + R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})" + digits +
         R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|)" + kSpaceRules;
}

std::string cased(const std::string& tail, const std::string& digits) {
  return R"([^\r\n\p{L}\p{N}]?)" + kUpper + "*" + kLower + "+" + tail + R"(|[^\r\n\p{L}\p{N}]?)" +
         kUpper + "+" + kLower + "*" + tail + R"(|\p{N})" + digits +
         R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*|)" + kSpaceRules;
}

struct Family {
  std::string name;
  std::vector<std::string> patterns;
};

std::vector<Family> families() {
  const std::string tail = "(?:" + kContractions + ")?";
  const std::string deepseek3 =
      R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
      R"(| ?[\p{P}\p{S}]+[\r\n]*|)" +
      kSpaceRules;
  return {
      {"gpt-2", {kGpt2}},
      {"smollm", {R"(\p{N})", kGpt2}},
      {"llama-bpe", {llama("{1,3}")}},
      {"qwen2", {llama("")}},
      {"minicpm5", {R"(\p{N}{1,3})", llama("+")}},
      {"qwen35",
       {kContractions +
        R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)" + kSpaceRules}},
      {"seed-coder",
       {kContractions + R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|)" +
        kSpaceRules}},
      {"gpt-4o", {cased(tail, "{1,3}")}},
      {"tekken", {cased("", "")}},
      {"default", {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
      {"falcon", {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2, "[0-9][0-9][0-9]"}},
      {"deepseek-coder",
       {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)",
        R"([\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+)", R"(\p{N})"}},
      {"deepseek-v3",
       {R"(\p{N}{1,3})", R"([\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+)", deepseek3}},
      {"bloom", {R"( ?[^(\s|.,!?\x{2026}\x{3002}\x{ff0c}\x{3001}\x{964}\x{6d4}\x{60c})]+)"}},
      {"laguna", {R"([^\n]+|\n+)", llama("")}},
  };
}

// What a pre-tokenizer that isolates the matches of each pattern in turn would do.
class RegexSplitter {
 public:
  explicit RegexSplitter(const std::vector<std::string>& patterns) {
    for (const std::string& pattern : patterns) {
      int error = 0;
      PCRE2_SIZE at = 0;
      pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                       PCRE2_UTF | PCRE2_UCP, &error, &at, nullptr);
      EXPECT_NE(code, nullptr) << pattern << " at " << at;
      codes_.emplace_back(code, &pcre2_code_free);
    }
  }

  std::vector<uint32_t> split(const std::string& text) const {
    std::vector<uint32_t> ends;
    if (!text.empty()) ends.push_back(static_cast<uint32_t>(text.size()));
    for (const auto& code : codes_) {
      std::vector<uint32_t> finer;
      uint32_t begin = 0;
      for (const uint32_t end : ends) {
        cut(code.get(), std::string_view(text).substr(begin, end - begin), begin, finer);
        begin = end;
      }
      ends = finer;
    }
    return ends;
  }

 private:
  static void cut(const pcre2_code* code, std::string_view piece, uint32_t offset,
                  std::vector<uint32_t>& ends) {
    const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(
        pcre2_match_data_create_from_pattern(code, nullptr), &pcre2_match_data_free);
    size_t at = 0;
    while (at < piece.size() && pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(piece.data()),
                                            piece.size(), at, 0, data.get(), nullptr) > 0) {
      const PCRE2_SIZE* found = pcre2_get_ovector_pointer(data.get());
      if (found[0] > at) ends.push_back(offset + static_cast<uint32_t>(found[0]));
      ends.push_back(offset + static_cast<uint32_t>(found[1]));
      at = found[1];
    }
    if (at < piece.size()) ends.push_back(offset + static_cast<uint32_t>(piece.size()));
  }

  std::vector<std::unique_ptr<pcre2_code, void (*)(pcre2_code*)>> codes_;
};

// Characters that rules care about, and others that both Unicode versions know alike.
std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> kUnits = {
      " ",      " ",      "  ",     "\n",     "\r",         "\r\n",       "\t",     "'",
      "'s",     "'LL",    "'Re",    "1",      "23",         "a",          "Bc",     "DE",
      "the",    "/",      "//",     "!",      "...",        "_",          "$",      "~",
      "`",      "+",      "\u00A0", "\u3000", "\u2028",     "\u0085",     "\u00E9", "\u00C9",
      "\u01C5", "\u02B0", "\u0301", "\u093F", "\u0915",     "\u4F60",     "\u30A2", "\uD55C",
      "\u0663", "\u00BD", "\u2026", "\u20AC", "\U0001F600", "\U0001D54F", "\u200B", "\x01",
      "\uFF01", "\u0964", "\u0E01", "\u2163", "\u00AA",     "\u203F"};
  std::string text;
  const size_t size = random() % 16;
  for (size_t i = 0; i < size; ++i) text += kUnits[random() % kUnits.size()];
  return text;
}

TEST(PreTokenizer, SplitsAsThePublishedExpressionsDo) {
  constexpr uint32_t kSeed = 5;
  SCOPED_TRACE(kSeed);
  for (const Family& family : families()) {
    std::mt19937 random(kSeed);
    const RegexSplitter regex(family.patterns);
    const PreTokenizer* pretokenizer = find_pretokenizer(family.name);
    ASSERT_NE(pretokenizer, nullptr) << family.name;
    std::vector<uint32_t> ends;
    std::vector<uint32_t> scratch;
    for (int round = 0; round < 2000; ++round) {
      const std::string text = random_text(random);
      split(*pretokenizer, text, ends, scratch);
      ASSERT_EQ(ends, regex.split(text)) << family.name << ": " << ::testing::PrintToString(text);
    }
  }
}

std::vector<std::string> pieces_of(const char* name, const std::string& text) {
  std::vector<uint32_t> ends;
  std::vector<uint32_t> scratch;
  split(*find_pretokenizer(name), text, ends, scratch);
  std::vector<std::string> pieces;
  uint32_t begin = 0;
  for (const uint32_t end : ends) {
    pieces.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return pieces;
}

using Pieces = std::vector<std::string>;

TEST(PreTokenizer, GroupsDigitsFromTheRight) {
  EXPECT_EQ(pieces_of("tiny_aya", "1234567"), (Pieces{"1", "234", "567"}));
  EXPECT_EQ(pieces_of("afmoe", "a 123456 12"), (Pieces{"a", " ", "123", "456", " ", "12"}));
}

TEST(PreTokenizer, DeepSeekIsolatesTrailingSpaceAndLines) {
  EXPECT_EQ(pieces_of("deepseek-llm", "ab \u00E9\u00EA  \n1 2"),
            (Pieces{"ab", " \u00E9\u00EA", "  ", "\n", "1", " ", "2"}));
}

TEST(CharClass, KnowsCategoriesOfUnicode15) {
  EXPECT_EQ(char_class('A'), CharClass::kUpper);
  EXPECT_EQ(char_class(0xDF), CharClass::kLower);
  EXPECT_EQ(char_class(0x1C5), CharClass::kTitle);
  EXPECT_EQ(char_class(0x2B0), CharClass::kModifierLetter);
  EXPECT_EQ(char_class(0x4E00), CharClass::kOtherLetter);
  EXPECT_EQ(char_class(0x2EBF0), CharClass::kOtherLetter);  // new in 15.1
  EXPECT_EQ(char_class(0x301), CharClass::kMark);
  EXPECT_EQ(char_class(0x2163), CharClass::kNumber);
  EXPECT_EQ(char_class('_'), CharClass::kPunctuation);
  EXPECT_EQ(char_class('$'), CharClass::kSymbol);
  EXPECT_EQ(char_class(0x85), CharClass::kSpace);
  EXPECT_EQ(char_class(0x180E), CharClass::kOther);
  EXPECT_EQ(char_class(0x200B), CharClass::kOther);
  EXPECT_EQ(char_class(0xD800), CharClass::kOther);
  EXPECT_EQ(char_class(0x110000), CharClass::kOther);
}

TEST(RepairUtf8, ReplacesEachByteThatStartsNoSequence) {
  EXPECT_EQ(repair_utf8("a\xE2\x82z"), "a\uFFFD\uFFFDz");
  EXPECT_EQ(repair_utf8("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(repair_utf8("\xC0\xAF"), "/");                 // overlong
  EXPECT_EQ(repair_utf8("\xED\xA0\x80"), "\xED\xA0\x80");  // a surrogate
  EXPECT_EQ(repair_utf8("\xC3"), "\uFFFD");
}

TEST(SpecialMatcher, FindsTheLeftmostLongest) {
  const SpecialMatcher matcher({{"<a>", 1}, {"<a><b>", 2}, {"b", 3}, {"", 4}, {"<a", 5}});
  const auto everything = [](size_t) { return std::string::npos; };
  const auto find = [&](std::string_view text, size_t from) {
    const auto match = matcher.find(text, from, everything);
    return std::vector<int64_t>{static_cast<int64_t>(match.begin), static_cast<int64_t>(match.size),
                                match.id};
  };
  EXPECT_EQ(find("x<a><b>", 0), (std::vector<int64_t>{1, 6, 2}));
  EXPECT_EQ(find("x<a><c>b", 0), (std::vector<int64_t>{1, 3, 1}));
  EXPECT_EQ(find("x<a><c>b", 4), (std::vector<int64_t>{7, 1, 3}));
  EXPECT_EQ(find("<a", 0), (std::vector<int64_t>{0, 2, 5}));
  EXPECT_EQ(find("none", 0), (std::vector<int64_t>{4, 0, -1}));
  EXPECT_EQ(SpecialMatcher().find("none", 0, everything).id, -1);
}

TEST(SpecialMatcher, TakesControlTokensOnlyFromTrustedText) {
  const SpecialMatcher matcher({{"<a>", 1}, {"<a", 2, true}, {"b", 3}});
  const auto id_of = [&](std::string_view text, size_t trusted_begin, size_t trusted_end) {
    return matcher
        .find(text, 0,
              [&](size_t position) { return position >= trusted_begin ? trusted_end : position; })
        .id;
  };
  EXPECT_EQ(id_of("<a>", 0, 3), 1);
  EXPECT_EQ(id_of("<a>", 0, 2), 2);  // its last byte is not trusted
  EXPECT_EQ(id_of("<a>", 1, 3), 2);  // nor its first
  EXPECT_EQ(id_of("xb", 2, 2), -1);
  EXPECT_EQ(id_of("bb", 1, 2), 3);
}

}  // namespace
}  // namespace sluice::text
