#pragma once

#include <string_view>
#include <vector>

#include "base/work.h"
#include "grammar/dfa.h"

namespace sluice::grammar {

// A regular expression taken apart.
struct Regex {
  enum class Kind { kSet, kConcat, kAlternate, kRepeat, kBegin, kEnd };
  static constexpr int kUnlimited = -1;

  Kind kind = Kind::kConcat;      // of nothing: the empty text
  CodeSet set = {};               // kSet
  std::vector<Regex> parts = {};  // kConcat, kAlternate; one of kRepeat
  int min = 0;                    // kRepeat
  int max = kUnlimited;
};

// Reads an expression as ECMAScript and Python both understand it: where they differ (what \d, \w,
// \s and . take of Unicode) it stands for what is in both. Throws Error: kUnsupported naming what
// no automaton can do (back-references, look-around, word boundaries) or we do not (flags), and
// kInvalidArgument for what is no expression. Charged to `work`.
Regex parse_regex(std::string_view pattern, Work& work);

// The texts of which some part matches (kSearch), or the whole does.
enum class Match { kSearch, kWhole };
Dfa to_dfa(const Regex& regex, Match match, CharSpelling spelling, Work& work);

// Of a pattern that is our own.
Dfa whole_dfa(std::string_view pattern, CharSpelling spelling, Work& work);

// Adds the steps of an expression between two states.
void add_regex(Nfa& nfa, const Regex& regex, CharSpelling spelling, int from, int to);

}  // namespace sluice::grammar
