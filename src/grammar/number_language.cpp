#include "grammar/number_language.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "grammar/regex.h"

namespace sluice::grammar {
namespace {

constexpr size_t kMaxDigits = 16;
constexpr uint64_t kMaxMultiple = 1000;

std::string digits(size_t min, size_t max) {
  return "[0-9]{" + std::to_string(min) + "," + std::to_string(max) + "}";
}

std::string digit_range(char first, char last) {
  if (first > last) return "";
  return std::string("[") + first + "-" + last + "]";
}

std::string any_of(const std::vector<std::string>& parts) {
  std::string pattern = "(?:";
  for (const std::string& part : parts) pattern += (pattern.size() > 3 ? "|" : "") + part;
  return pattern + ")";
}

// Digits as many as in `low` and `high`, from one to the other. "" of no digits.
std::string between(std::string_view low, std::string_view high) {
  if (low.empty()) return "";
  if (low[0] == high[0]) return low[0] + between(low.substr(1), high.substr(1));
  const size_t rest = low.size() - 1;
  const std::string nines(rest, '9'), zeros(rest, '0');
  if (low == '0' + zeros && high == '9' + nines) return digits(rest + 1, rest + 1);
  std::vector<std::string> parts = {low[0] + between(low.substr(1), nines)};
  const auto inner = digit_range(static_cast<char>(low[0] + 1), static_cast<char>(high[0] - 1));
  if (!inner.empty()) parts.push_back(inner + digits(rest, rest));
  parts.push_back(high[0] + between(zeros, high.substr(1)));
  return any_of(parts);
}

bool is_less(std::string_view a, std::string_view b) {  // both without leading zeros
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

// Whole numbers from low to high without leading zeros. "" for 0. Nothing when there are none.
std::optional<std::string> whole_between(std::string low, const std::string& high) {
  if (is_less(high, low)) return std::nullopt;
  std::vector<std::string> parts;
  if (low.empty()) {
    parts.push_back("0");
    low = "1";
    if (high.empty()) return any_of(parts);
  }
  for (size_t size = low.size(); size <= high.size(); ++size) {
    const std::string least = size == low.size() ? low : "1" + std::string(size - 1, '0');
    const std::string most = size == high.size() ? high : std::string(size, '9');
    parts.push_back(between(least, most));
  }
  return any_of(parts);
}

std::string plus_one(std::string whole) {
  size_t i = whole.size();
  while (i > 0 && whole[i - 1] == '9') whole[--i] = '0';
  if (i == 0) return "1" + whole;
  ++whole[i - 1];
  return whole;
}

std::string minus_one(std::string whole) {  // of what is not 0
  size_t i = whole.size();
  while (whole[i - 1] == '0') whole[--i] = '9';
  --whole[i - 1];
  return whole[0] == '0' ? whole.substr(1) : whole;
}

const std::string kAnyFraction = "(?:\\.[0-9]{1,16})?";

// A limit that a double tells from its neighbours when it is strict: 15 digits in all.
size_t num_fraction_digits(const Bound& bound) {
  const size_t size = bound.value.whole.size();
  if (!bound.is_strict) return kMaxDigits;
  if (size + bound.value.fraction.size() > 14) {
    throw Error(ErrorCode::kUnsupported,
                "an exclusive bound of a number has too many digits to be honoured");
  }
  return 15 - size;
}

// Fractions behind the bound's whole part that are at least, or at most, the bound's.
std::string fraction_from(const Bound& bound) {
  const std::string& limit = bound.value.fraction;
  const size_t most = num_fraction_digits(bound);
  std::vector<std::string> parts;
  for (size_t i = 0; i < limit.size(); ++i) {
    const auto above = digit_range(static_cast<char>(limit[i] + 1), '9');
    if (!above.empty()) parts.push_back(limit.substr(0, i) + above + digits(0, most - i - 1));
  }
  const size_t rest = most - limit.size();
  if (!bound.is_strict) {
    if (limit.empty()) return kAnyFraction;
    parts.push_back(limit + digits(0, rest));
  } else {
    for (size_t zeros = 0; zeros < rest; ++zeros) {
      parts.push_back(limit + std::string(zeros, '0') + "[1-9]" + digits(0, rest - zeros - 1));
    }
  }
  return "\\." + any_of(parts);
}

std::optional<std::string> fraction_to(const Bound& bound) {
  const std::string& limit = bound.value.fraction;
  const size_t most = num_fraction_digits(bound);
  if (limit.empty()) {
    if (bound.is_strict) return std::nullopt;
    return "(?:\\.0{1,16})?";
  }
  std::vector<std::string> parts;
  for (size_t i = 0; i < limit.size(); ++i) {
    if (i > 0) parts.push_back(limit.substr(0, i));
    const auto below = digit_range('0', static_cast<char>(limit[i] - 1));
    if (!below.empty()) parts.push_back(limit.substr(0, i) + below + digits(0, most - i - 1));
  }
  if (!bound.is_strict) parts.push_back(limit + "0{0," + std::to_string(most - limit.size()) + "}");
  return "(?:\\." + any_of(parts) + ")?";
}

// Numbers without a sign, of at least or at most the bound's size.
std::optional<std::string> sized_from(const Bound& bound, bool is_integer) {
  const Decimal& value = bound.value;
  const std::string top(kMaxDigits, '9');
  const bool excludes_whole = !value.fraction.empty() || bound.is_strict;
  if (is_integer) {
    return whole_between(excludes_whole ? plus_one(value.whole) : value.whole, top);
  }
  std::vector<std::string> parts;
  if (const auto above = whole_between(plus_one(value.whole), top)) {
    parts.push_back(*above + kAnyFraction);
  }
  const std::string same = value.whole.empty() ? "0" : value.whole;
  parts.push_back(same + fraction_from(bound));
  return any_of(parts);
}

std::optional<std::string> sized_to(const Bound& bound, bool is_integer) {
  const Decimal& value = bound.value;
  if (bound.is_strict && value.is_zero()) return std::nullopt;
  const bool excludes_whole = value.fraction.empty() && bound.is_strict;
  if (is_integer) {
    return whole_between("", excludes_whole ? minus_one(value.whole) : value.whole);
  }
  std::vector<std::string> parts;
  if (!value.whole.empty()) {
    parts.push_back(*whole_between("", minus_one(value.whole)) + kAnyFraction);
  }
  if (const auto fraction = fraction_to(bound)) {
    parts.push_back((value.whole.empty() ? "0" : value.whole) + *fraction);
  }
  return any_of(parts);
}

// All numbers on one side of a bound.
Dfa side(const Bound& bound, bool is_low, bool is_integer, Work& work) {
  const std::string anything =
      "(?:0|[1-9][0-9]{0,15})" + (is_integer ? std::string() : kAnyFraction);
  const auto compile = [&](const std::string& pattern) {
    return whole_dfa(pattern, CharSpelling::kPlain, work);
  };
  const bool is_negative = bound.value.is_negative && !bound.value.is_zero();
  const auto from = sized_from(bound, is_integer);
  const auto to = sized_to(bound, is_integer);
  std::vector<std::string> parts;
  if (is_low) {  // at least the bound
    if (is_negative) {
      parts.push_back(anything);
      if (to) parts.push_back("-" + *to);
    } else if (from) {
      parts.push_back(*from);
    }
  } else {
    if (is_negative) {
      if (from) parts.push_back("-" + *from);
    } else {
      if (to) parts.push_back(*to);
      // "-0" is 0 as well: not less than a strict bound of 0.
      const Bound zero{{}, bound.is_strict && bound.value.is_zero()};
      if (const auto below = sized_from(zero, is_integer)) parts.push_back("-" + *below);
    }
  }
  if (parts.empty()) return {};
  return compile(any_of(parts));
}

// Multiples, with any leading zeros.
Dfa multiples(uint64_t of, Work& work) {
  Nfa nfa(work);
  const int begin = nfa.add_state();
  const int sign = nfa.add_state();
  nfa.add_free_step(begin, sign);
  nfa.add_step(begin, {'-', '-'}, sign);
  const int first = nfa.num_states();
  for (uint64_t i = 0; i < of; ++i) nfa.add_state();
  for (uint64_t rest = 0; rest < of; ++rest) {
    for (uint8_t digit = 0; digit < 10; ++digit) {
      const auto byte = static_cast<uint8_t>('0' + digit);
      const int to = first + static_cast<int>((rest * 10 + digit) % of);
      nfa.add_step(first + static_cast<int>(rest), {byte, byte}, to);
      if (rest == 0) nfa.add_step(sign, {byte, byte}, to);
    }
  }
  return Dfa::from_nfa(nfa, first);
}

}  // namespace

std::optional<Decimal> Decimal::parse(std::string_view text) {
  Decimal decimal;
  if (text.starts_with('-')) {
    decimal.is_negative = true;
    text.remove_prefix(1);
  }
  const size_t mark = text.find_first_of("eE");
  int exponent = 0;
  if (mark != std::string_view::npos) {
    exponent = std::atoi(std::string(text.substr(mark + 1)).c_str());
    text = text.substr(0, mark);
  }
  const size_t point = text.find('.');
  std::string all(text.substr(0, point));
  int num_whole = static_cast<int>(all.size());
  if (point != std::string_view::npos) all += text.substr(point + 1);
  num_whole += exponent;
  constexpr int kMost = static_cast<int>(kMaxDigits);
  const size_t first = all.find_first_not_of('0');
  if (first == std::string::npos) return Decimal{};
  if (num_whole - static_cast<int>(first) > kMost || num_whole < -kMost) return std::nullopt;
  if (num_whole < 0) {
    all.insert(0, static_cast<size_t>(-num_whole), '0');
    num_whole = 0;
  }
  const auto size = static_cast<size_t>(num_whole);
  if (all.size() < size) all.append(size - all.size(), '0');
  decimal.whole = all.substr(0, size);
  decimal.fraction = all.substr(size);
  decimal.whole.erase(0, decimal.whole.find_first_not_of('0'));
  decimal.fraction.erase(decimal.fraction.find_last_not_of('0') + 1);
  if (decimal.fraction.size() > kMaxDigits) return std::nullopt;
  return decimal;
}

Dfa number_language(const NumberRange& range, Work& work) {
  const bool is_integer = range.is_integer || range.multiple_of > 0;
  const bool has_bound = range.low || range.high || range.is_bounded;
  std::string pattern = "-?(?:0|[1-9][0-9]{0,15})";
  if (!is_integer) pattern += kAnyFraction;
  if (!is_integer && !has_bound) pattern += "(?:[eE][-+]?[0-9]{1,2})?";
  Dfa numbers = whole_dfa(pattern, CharSpelling::kPlain, work);
  if (range.low) {
    numbers = Dfa::intersect(numbers, side(*range.low, true, is_integer, work), work);
  }
  if (range.high) {
    numbers = Dfa::intersect(numbers, side(*range.high, false, is_integer, work), work);
  }
  if (range.multiple_of > 1) {
    if (range.multiple_of > kMaxMultiple) {
      throw Error(ErrorCode::kUnsupported, "keyword \"multipleOf\" is supported up to " +
                                               std::to_string(kMaxMultiple) + " only");
    }
    numbers = Dfa::intersect(numbers, multiples(range.multiple_of, work), work);
  }
  return numbers;
}

}  // namespace sluice::grammar
