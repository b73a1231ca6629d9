#include "base/units.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace sluice {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::nanoseconds;
using std::chrono::seconds;

TEST(FormatBytes, UsesDecimalUnitsWithADecimalBelowTen) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1000), "1 KB");
  EXPECT_EQ(format_bytes(1500), "1.5 KB");
  EXPECT_EQ(format_bytes(986'000'000), "986 MB");
  EXPECT_EQ(format_bytes(98'362'432), "98 MB");
  EXPECT_EQ(format_bytes(2'019'393'189), "2.0 GB");
  EXPECT_EQ(format_bytes(2'000'000'000), "2 GB");
  EXPECT_EQ(format_bytes(19'900'000'000), "19 GB");
  EXPECT_EQ(format_bytes(1'200'000'000'000), "1.2 TB");
  EXPECT_EQ(format_bytes(std::numeric_limits<uint64_t>::max()), "18446744 TB");
}

TEST(GoDuration, IsPrintedAsGoDoes) {
  EXPECT_EQ(format_go_duration(nanoseconds(0)), "0s");
  EXPECT_EQ(format_go_duration(nanoseconds(1)), "1ns");
  EXPECT_EQ(format_go_duration(nanoseconds(1100)), "1.1\u00b5s");
  EXPECT_EQ(format_go_duration(milliseconds(350)), "350ms");
  EXPECT_EQ(format_go_duration(nanoseconds(2'200'050)), "2.20005ms");
  EXPECT_EQ(format_go_duration(milliseconds(1500)), "1.5s");
  EXPECT_EQ(format_go_duration(seconds(150)), "2m30s");
  EXPECT_EQ(format_go_duration(minutes(5)), "5m0s");
  EXPECT_EQ(format_go_duration(hours(1)), "1h0m0s");
  EXPECT_EQ(format_go_duration(hours(5) + seconds(1) + milliseconds(1)), "5h0m1.001s");
  EXPECT_EQ(format_go_duration(-seconds(1)), "-1s");
  EXPECT_EQ(format_go_duration(nanoseconds::min()), "-2562047h47m16.854775808s");
  EXPECT_EQ(format_go_duration(nanoseconds::max()), "2562047h47m16.854775807s");
}

TEST(GoDuration, IsParsedAsGoDoes) {
  EXPECT_EQ(parse_go_duration("0"), nanoseconds(0));
  EXPECT_EQ(parse_go_duration("300ms"), milliseconds(300));
  EXPECT_EQ(parse_go_duration("-1.5h"), -minutes(90));
  EXPECT_EQ(parse_go_duration("+5s"), seconds(5));
  EXPECT_EQ(parse_go_duration("2h45m"), minutes(165));
  EXPECT_EQ(parse_go_duration(".5s"), milliseconds(500));
  EXPECT_EQ(parse_go_duration("1.s"), seconds(1));
  EXPECT_EQ(parse_go_duration("10us"), nanoseconds(10'000));
  EXPECT_EQ(parse_go_duration("10\u00b5s"), nanoseconds(10'000));
  EXPECT_EQ(parse_go_duration("10\u03bcs"), nanoseconds(10'000));
  EXPECT_EQ(parse_go_duration("9223372036854775807ns"), nanoseconds::max());
  EXPECT_EQ(parse_go_duration("-9223372036854775808ns"), nanoseconds::min());
  EXPECT_EQ(parse_go_duration("0.100000000000000000000h"), minutes(6));
  EXPECT_EQ(parse_go_duration("0.3333333333333333333h"), minutes(20));
}

TEST(GoDuration, RefusesWhatGoRefuses) {
  for (const char* text : {"", "-", "+", "3", "s", ".s", "1x", "1 s", "--1s", "1s ", "1e3s",
                           "5m-3s", "9223372036854775808ns", "-9223372036854775809ns", "2562048h",
                           "99999999999999999999s", "5124095h34m33.709551616s", "1\xc2s"}) {
    EXPECT_FALSE(parse_go_duration(text).has_value()) << text;
  }
}

TEST(GoDuration, ParsesWhatItPrints) {
  constexpr unsigned kSeed = 3;
  std::mt19937_64 random(kSeed);
  for (int i = 0; i < 10000; ++i) {
    const nanoseconds duration(static_cast<int64_t>(random()) >> (i % 63));
    // Fractions of an hour's seconds go through a double, as Go's do: exact up to 2^53 ns.
    EXPECT_EQ(parse_go_duration(format_go_duration(duration)), duration) << "seed " << kSeed;
  }
}

TEST(FormatParameterCount, AgreesWithOllama) {
  EXPECT_EQ(format_parameter_count(999), "999");
  EXPECT_EQ(format_parameter_count(4096), "4K");
  EXPECT_EQ(format_parameter_count(134'515'008), "134.52M");
  EXPECT_EQ(format_parameter_count(7'000'000), "7M");
  EXPECT_EQ(format_parameter_count(1'235'814'432), "1.2B");
  EXPECT_EQ(format_parameter_count(7'000'000'000), "7B");
}

TEST(FormatHumanDuration, RoundsAsOllamaDoes) {
  EXPECT_EQ(format_human_duration(seconds(0)), "Less than a second");
  EXPECT_EQ(format_human_duration(seconds(1)), "1 second");
  EXPECT_EQ(format_human_duration(seconds(59)), "59 seconds");
  EXPECT_EQ(format_human_duration(seconds(60)), "About a minute");
  EXPECT_EQ(format_human_duration(minutes(5)), "5 minutes");
  EXPECT_EQ(format_human_duration(minutes(60)), "About an hour");
  EXPECT_EQ(format_human_duration(minutes(89)), "About an hour");
  EXPECT_EQ(format_human_duration(minutes(90)), "2 hours");
  EXPECT_EQ(format_human_duration(hours(48)), "2 days");
  EXPECT_EQ(format_human_duration(hours(24 * 14)), "2 weeks");
  EXPECT_EQ(format_human_duration(hours(24 * 90)), "3 months");
  EXPECT_EQ(format_human_duration(hours(24 * 365 * 3)), "3 years");
}

TEST(FormatRfc3339, CutsTrailingZerosOfTheFraction) {
  const std::chrono::system_clock::time_point whole(seconds(1'787'306'400));
  EXPECT_EQ(format_rfc3339(whole), "2026-08-21T10:00:00Z");
  EXPECT_EQ(format_rfc3339(whole + milliseconds(120)), "2026-08-21T10:00:00.12Z");
  EXPECT_EQ(format_rfc3339(whole + nanoseconds(5)), "2026-08-21T10:00:00.000000005Z");
  EXPECT_EQ(format_rfc3339(std::chrono::system_clock::time_point(milliseconds(-500))),
            "1969-12-31T23:59:59.5Z");
}

}  // namespace
}  // namespace sluice
