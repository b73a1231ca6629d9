#include "text/pretokenizer.h"

#include <algorithm>

namespace sluice::text {
namespace {

using Contractions = WordRule::Contractions;
using Words = WordRule::Words;

constexpr ClassMask kNotLower = kLetters & ~mask_of(CharClass::kLower);
constexpr ClassMask kNotUpper =
    kLetters & ~mask_of(CharClass::kUpper) & ~mask_of(CharClass::kTitle);

bool is_newline(char32_t code) { return code == '\r' || code == '\n'; }

const char* skip(const char* p, const char* end, ClassMask mask) {
  for (Char c = char_at(p, end); c.in(mask); c = char_at(p, end)) p += c.size;
  return p;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// End of 's, 't, 're, 've, 'm, 'll or 'd at `p`, or `p`.
const char* skip_contraction(const char* p, const char* end, bool any_case) {
  if (end - p < 2 || *p != '\'') return p;
  const auto letter = [&](int i) { return any_case ? lower(p[i]) : p[i]; };
  const char first = letter(1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return p + 2;
  if (end - p < 3) return p;
  const char second = letter(2);
  const bool is_pair = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
                       (first == 'l' && second == 'l');
  return is_pair ? p + 3 : p;
}

// "U*W+" at `p`, backtracking as a regular expression does: when no W follows the run of U, the
// run gives back characters down to its last one that is also a W.
const char* skip_lower_word(const char* p, const char* end, ClassMask upper, ClassMask lower_mask) {
  const char* after_last_both = nullptr;
  const char* q = p;
  for (Char c = char_at(q, end); c.in(upper); c = char_at(q, end)) {
    q += c.size;
    if (c.in(lower_mask)) after_last_both = q;
  }
  const char* stop = skip(q, end, lower_mask);
  if (stop != q) return stop;
  return after_last_both ? after_last_both : p;
}

// "U+W*" at `p`.
const char* skip_upper_word(const char* p, const char* end, ClassMask upper, ClassMask lower_mask) {
  const char* q = skip(p, end, upper);
  return q == p ? p : skip(q, end, lower_mask);
}

const char* skip_cased_word(const char* p, const char* end, const WordRule& rule, const Char& c) {
  const ClassMask marks = kMarks & rule.letters;
  const ClassMask upper = kNotLower | marks;
  const ClassMask lower_mask = kNotUpper | marks;
  const bool has_prefix = !is_newline(c.code) && !c.in(kLetters | kNumbers);
  for (const auto skip_word : {skip_lower_word, skip_upper_word}) {
    if (has_prefix) {
      const char* stop = skip_word(p + c.size, end, upper, lower_mask);
      if (stop != p + c.size) return stop;
    }
    const char* stop = skip_word(p, end, upper, lower_mask);
    if (stop != p) return stop;
  }
  return p;
}

bool is_ascii_punctuation(char32_t code) {
  return code > ' ' && code < 0x7F && !(code >= '0' && code <= '9') &&
         !(code >= 'A' && code <= 'Z') && !(code >= 'a' && code <= 'z');
}

const char* skip_ascii_letters(const char* p, const char* end) {
  while (p != end && lower(*p) >= 'a' && lower(*p) <= 'z') ++p;
  return p;
}

// The letter alternatives of `rule`: end of the match, or `p`.
const char* skip_word(const char* p, const char* end, const WordRule& rule, const Char& c) {
  if (c.in(rule.letters) && rule.words != Words::kCased) return skip(p, end, rule.letters);
  const char* next = p + c.size;
  switch (rule.words) {
    case Words::kAfterSpace:
      return c.code == ' ' && char_at(next, end).in(rule.letters) ? skip(next, end, rule.letters)
                                                                  : p;
    case Words::kAfterAny: {
      const bool is_prefix = !is_newline(c.code) && !c.in(kLetters | kNumbers);
      return is_prefix && char_at(next, end).in(rule.letters) ? skip(next, end, rule.letters) : p;
    }
    case Words::kAfterNonSymbol: {
      if (is_ascii_punctuation(c.code)) {
        const char* stop = skip_ascii_letters(next, end);
        return stop == next ? p : stop;
      }
      const bool is_prefix = !is_newline(c.code) && !c.in(kPunctuations | kSymbols);
      return is_prefix && char_at(next, end).in(rule.letters) ? skip(next, end, rule.letters) : p;
    }
    case Words::kCased: {
      const char* stop = skip_cased_word(p, end, rule, c);
      if (stop == p || rule.contractions != Contractions::kAnyCaseTail) return stop;
      return skip_contraction(stop, end, true);
    }
  }
  return p;
}

const char* skip_number(const char* p, const char* end, const WordRule& rule, const Char& c) {
  if (rule.max_digits == 0) return p;
  if (rule.words == Words::kAfterSpace) {
    const char* q = c.code == ' ' ? p + 1 : p;
    const char* stop = skip(q, end, kNumbers);
    return stop == q ? p : stop;
  }
  for (uint32_t i = 0; i < rule.max_digits; ++i) {
    const Char digit = char_at(p, end);
    if (!digit.in(kNumbers)) break;
    p += digit.size;
  }
  return p;
}

const char* skip_punctuation(const char* p, const char* end, const WordRule& rule, const Char& c) {
  const char* q = c.code == ' ' ? p + 1 : p;
  const char* stop = skip(q, end, rule.punctuation);
  if (stop == q) return p;
  while (stop != end && ((rule.punctuation_takes_newlines && is_newline(*stop)) ||
                         (rule.punctuation_takes_slashes && *stop == '/'))) {
    ++stop;
  }
  return stop;
}

// White space at `p`: up to its last line break; else all but the last character when a word
// follows, so that the word can have it.
const char* skip_space(const char* p, const char* end, const WordRule& rule) {
  const char* q = p;
  const char* last = p;
  const char* after_newline = nullptr;
  for (Char c = char_at(q, end); c.in(kSpaces); c = char_at(q, end)) {
    last = q;
    q += c.size;
    if (is_newline(c.code)) after_newline = q;
  }
  if (rule.has_newline_rule && after_newline) return after_newline;
  return q == end || last == p ? q : last;
}

// End of the first alternative of `rule` that matches at `p`, or `p` when none does.
const char* match_word(const char* p, const char* end, const WordRule& rule) {
  const Char c = char_at(p, end);
  if (c.code == '\'' && rule.contractions != Contractions::kNone &&
      rule.contractions != Contractions::kAnyCaseTail) {
    const char* stop = skip_contraction(p, end, rule.contractions == Contractions::kAnyCase);
    if (stop != p) return stop;
  }
  const char* stop = skip_word(p, end, rule, c);
  if (stop == p) stop = skip_number(p, end, rule, c);
  if (stop == p) stop = skip_punctuation(p, end, rule, c);
  if (stop == p) stop = skip_space(p, end, rule);
  return stop;
}

// End of "prefix?body{min,max}" at `p`, or `p`.
const char* match_run(const char* p, const char* end, const Stage& stage) {
  const Char c = char_at(p, end);
  const auto skip_body = [&](const char* start) {
    uint32_t count = 0;
    const char* q = start;
    for (Char b = char_at(q, end); count < stage.max && b.size && stage.body.contains(b);
         b = char_at(q, end)) {
      q += b.size;
      ++count;
    }
    return count >= stage.min ? q : start;
  };
  if (stage.prefix.contains(c)) {
    const char* stop = skip_body(p + c.size);
    if (stop != p + c.size) return stop;
  }
  return skip_body(p);
}

// Receives the ends of pieces of one stage, as offsets from the start of the text.
struct Cutter {
  const char* text;
  std::vector<uint32_t>& ends;
  void cut(const char* p) { ends.push_back(static_cast<uint32_t>(p - text)); }
};

// Cuts [p, end) at every match; characters between matches stay together.
template <typename Match>
void cut_matches(const char* p, const char* end, Cutter& cutter, Match match) {
  const char* piece = p;
  while (p != end) {
    const char* stop = match(p);
    if (stop == p) {
      p += char_at(p, end).size;
      continue;
    }
    if (piece != p) cutter.cut(p);
    cutter.cut(stop);
    piece = p = stop;
  }
  if (piece != end) cutter.cut(end);
}

void cut_trailing_space(const char* p, const char* end, Cutter& cutter) {
  const char* after_word = p;
  for (const char* q = p; q != end;) {
    const Char c = char_at(q, end);
    q += c.size;
    if (!c.in(kSpaces)) after_word = q;
  }
  if (after_word != p) cutter.cut(after_word);
  if (after_word != end) cutter.cut(end);
}

void cut_digit_groups(const char* p, const char* end, Cutter& cutter) {
  const char* piece = p;
  while (p != end) {
    size_t count = 0;
    const char* digits = p;
    for (Char c = char_at(p, end); c.in(kNumbers); c = char_at(p, end)) {
      p += c.size;
      ++count;
    }
    if (count == 0) {
      p += char_at(p, end).size;
      continue;
    }
    if (piece != digits) cutter.cut(digits);
    for (const char* q = digits; q != p; --count) {
      if (q != digits && count % 3 == 0) cutter.cut(q);
      q += char_at(q, end).size;
    }
    cutter.cut(p);
    piece = p;
  }
  if (piece != end) cutter.cut(end);
}

void run_stage(const Stage& stage, const char* p, const char* end, Cutter& cutter) {
  switch (stage.kind) {
    case Stage::Kind::kWords:
      cut_matches(p, end, cutter, [&](const char* q) { return match_word(q, end, stage.words); });
      break;
    case Stage::Kind::kRuns:
      cut_matches(p, end, cutter, [&](const char* q) { return match_run(q, end, stage); });
      break;
    case Stage::Kind::kTrailingSpace:
      cut_trailing_space(p, end, cutter);
      break;
    case Stage::Kind::kDigitGroupsFromRight:
      cut_digit_groups(p, end, cutter);
      break;
    case Stage::Kind::kLines:
      while (p != end) {
        const char* q = p;
        while (q != end && (*q == '\n') == (*p == '\n')) ++q;
        cutter.cut(q);
        p = q;
      }
      break;
  }
}

}  // namespace

bool CharSet::contains(const Char& c) const {
  if (c.size == 0) return false;
  bool found = c.in(classes);
  if (!found && !ranges.empty()) {
    const auto range =
        std::lower_bound(ranges.begin(), ranges.end(), c.code,
                         [](const Range& r, char32_t code) { return r.last < code; });
    found = range != ranges.end() && range->first <= c.code;
  }
  return found != is_negated;
}

void split(const PreTokenizer& pretokenizer, std::string_view text, std::vector<uint32_t>& ends,
           std::vector<uint32_t>& scratch) {
  ends.clear();
  if (text.empty()) return;
  ends.push_back(static_cast<uint32_t>(text.size()));
  for (const Stage& stage : pretokenizer.stages) {
    scratch.clear();
    Cutter cutter{text.data(), scratch};
    const char* p = text.data();
    for (const uint32_t end : ends) {
      run_stage(stage, p, text.data() + end, cutter);
      p = text.data() + end;
    }
    ends.swap(scratch);
  }
}

}  // namespace sluice::text
