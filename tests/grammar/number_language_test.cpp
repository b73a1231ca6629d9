#include "grammar/number_language.h"

#include <cmath>
#include <cstdlib>

#include "grammar_fixture.h"

namespace sluice::grammar {
namespace {

Dfa language(std::optional<std::string> low, bool low_strict, std::optional<std::string> high,
             bool high_strict, bool is_integer, uint64_t multiple_of = 0) {
  NumberRange range;
  range.is_integer = is_integer;
  if (low) range.low = Bound{Decimal::parse(*low).value(), low_strict};
  if (high) range.high = Bound{Decimal::parse(*high).value(), high_strict};
  range.multiple_of = multiple_of;
  Work work;
  return number_language(range, work);
}

// Decimal bounds and numbers near them, compared as doubles.
TEST(NumberLanguage, HoldsExactlyWhatIsBetweenTheBounds) {
  const std::vector<std::string> bounds = {"0",    "1",   "-1",    "0.5",   "-0.5",  "9.99",
                                           "10",   "100", "-99.5", "12.34", "0.05",  "3",
                                           "1000", "-7",  "0.1",   "1e2",   "25e-1", "-1e-2"};
  const std::vector<std::string> numbers = {
      "0",     "-0",    "1",     "-1",    "0.5",    "-0.5",   "0.50",   "0.49", "0.51",  "9.99",
      "9.989", "9.991", "10",    "10.0",  "10.01",  "9",      "99",     "100",  "100.0", "101",
      "-99.5", "-99",   "-100",  "12.34", "12.340", "12.341", "12.339", "0.05", "0.049", "0.051",
      "3",     "3.0",   "2.999", "1000",  "999.9",  "1000.1", "-7",     "-7.1", "-6.9",  "0.1",
      "0.10",  "0.09",  "-0.01", "-0.02", "-0.001", "2.5",    "2.4",    "2.6",  "20",    "500"};
  for (const std::string& low : bounds) {
    for (const std::string& high : bounds) {
      for (int strict = 0; strict < 4; ++strict) {
        const bool low_strict = strict & 1, high_strict = strict & 2;
        const Dfa dfa = language(low, low_strict, high, high_strict, false);
        const Dfa integers = language(low, low_strict, high, high_strict, true);
        for (const std::string& number : numbers) {
          const double x = std::atof(number.c_str()), from = std::atof(low.c_str()),
                       to = std::atof(high.c_str());
          const bool fits = (low_strict ? x > from : x >= from) && (high_strict ? x < to : x <= to);
          if (number == "-0" && !dfa.accepts(number)) continue;  // need not be written
          EXPECT_EQ(dfa.accepts(number), fits)
              << number << " in " << low << " to " << high << " strict " << strict;
          const bool is_integer = number.find('.') == std::string::npos;
          EXPECT_EQ(integers.accepts(number), fits && is_integer)
              << number << " in " << low << " to " << high << " strict " << strict;
        }
      }
    }
  }
}

TEST(NumberLanguage, TakesAnyNumberWithoutBounds) {
  const Dfa dfa = language({}, false, {}, false, false);
  for (const char* number : {"0", "-0", "12", "-3.25", "1e5", "1.5E-07", "9999999999999999"}) {
    EXPECT_TRUE(dfa.accepts(number)) << number;
  }
  for (const char* text : {"", "-", "01", ".5", "1.", "1e", "+1", "1e999", "--1"}) {
    EXPECT_FALSE(dfa.accepts(text)) << text;
  }
}

TEST(NumberLanguage, CountsMultiples) {
  const Dfa sevens = language("-50", false, "1000", true, true, 7);
  for (int i = -100; i < 1100; ++i) {
    EXPECT_EQ(sevens.accepts(std::to_string(i)), i >= -50 && i < 1000 && i % 7 == 0) << i;
  }
}

TEST(NumberLanguage, OneBoundIsEnough) {
  const Dfa above = language("17", true, {}, false, true);
  EXPECT_FALSE(above.accepts("17"));
  EXPECT_TRUE(above.accepts("18"));
  EXPECT_TRUE(above.accepts("9999999999999999"));
  const Dfa below = language({}, false, "-3", false, false);
  EXPECT_TRUE(below.accepts("-3"));
  EXPECT_TRUE(below.accepts("-3.5"));
  EXPECT_FALSE(below.accepts("-2.9"));
  EXPECT_FALSE(below.accepts("3"));
}

TEST(Decimal, ReadsJsonNumbers) {
  const auto shown = [](std::string_view text) {
    const auto decimal = Decimal::parse(text);
    if (!decimal) return std::string("too long");
    return (decimal->is_negative ? "-" : "") + decimal->whole + "." + decimal->fraction;
  };
  EXPECT_EQ(shown("12.50"), "12.5");
  EXPECT_EQ(shown("-0.0"), ".");
  EXPECT_EQ(shown("1e3"), "1000.");
  EXPECT_EQ(shown("1.5e-3"), ".0015");
  EXPECT_EQ(shown("-123.456e1"), "-1234.56");
  EXPECT_EQ(shown("1e300"), "too long");
  EXPECT_EQ(shown("1e-300"), "too long");
}

}  // namespace
}  // namespace sluice::grammar
