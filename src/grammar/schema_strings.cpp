#include "grammar/schema_strings.h"

#include "grammar/regex.h"
#include "grammar/string_format.h"

namespace sluice::grammar {

std::string SchemaStrings::spelled(const std::string& text) {
  std::string result;
  append_json_spelling(result, text);
  return result;
}

const Dfa& SchemaStrings::keep(std::map<std::string, Dfa>& known, const std::string& name,
                               Dfa dfa) {
  constexpr size_t kMaxKeptBytes = 32u << 20;
  kept_bytes_ += name.size() + dfa.size_bytes();
  if (kept_bytes_ > kMaxKeptBytes) {
    refuse_keyword("pattern", "with so many or so large expressions in one schema");
  }
  return known.emplace(name, std::move(dfa)).first->second;
}

const Dfa& SchemaStrings::matching(const std::string& pattern) {
  const auto known = patterns_.find(pattern);
  if (known != patterns_.end()) return known->second;
  Dfa dfa = to_dfa(parse_regex(pattern, work_), Match::kSearch, CharSpelling::kJsonString, work_);
  return keep(patterns_, pattern, std::move(dfa));
}

const Dfa& SchemaStrings::any() {
  if (!any_) any_ = to_dfa({}, Match::kSearch, CharSpelling::kJsonString, work_);
  return *any_;
}

const Dfa& SchemaStrings::of_format(const std::string& format) {
  const auto known = formats_.find(format);
  if (known != formats_.end()) return known->second;
  const auto pattern = format_pattern(format);
  if (!pattern) refuse_keyword("format", "with the value \"" + format + "\"; leave it out");
  Dfa dfa = whole_dfa(*pattern, CharSpelling::kJsonString, work_);
  return keep(formats_, format, std::move(dfa));
}

Dfa SchemaStrings::of_length(uint32_t min, uint32_t max) {
  constexpr uint32_t kMost = 1000;
  const bool is_open = max == UINT32_MAX;
  if (min > kMost || (!is_open && max > kMost)) {
    refuse_keyword(min > kMost ? "minLength" : "maxLength",
                   "above " + std::to_string(kMost) + " together with a pattern or format");
  }
  Regex characters{Regex::Kind::kRepeat};
  characters.parts.push_back({Regex::Kind::kSet, CodeSet::all()});
  characters.min = static_cast<int>(min);
  characters.max = is_open ? Regex::kUnlimited : static_cast<int>(max);
  return to_dfa(characters, Match::kWhole, CharSpelling::kJsonString, work_);
}

Dfa SchemaStrings::language(const SchemaFacts& facts) {
  Dfa language = any();
  for (const std::string& pattern : facts.patterns) {
    language = Dfa::intersect(language, matching(pattern), work_);
  }
  for (const std::string& format : facts.formats) {
    language = Dfa::intersect(language, of_format(format), work_);
  }
  if (facts.min_length > 0 || facts.max_length != UINT32_MAX) {
    language = Dfa::intersect(language, of_length(facts.min_length, facts.max_length), work_);
  }
  if (!facts.values) return language;
  std::vector<std::string> values;
  for (const Json* value : *facts.values) {
    if (!value->is_string()) continue;
    std::string text = spelled(value->get<std::string>());
    if (language.accepts(text)) values.push_back(std::move(text));
  }
  return Dfa::of_strings(std::move(values), work_);
}

}  // namespace sluice::grammar
