#pragma once

#include <map>
#include <optional>
#include <string>

#include "grammar/dfa.h"
#include "grammar/schema_facts.h"

namespace sluice::grammar {

// The languages of strings that schemas speak of, as they are spelled between the quotes.
class SchemaStrings {
 public:
  explicit SchemaStrings(Work& work) : work_(work) {}

  // Strings in which a pattern is found.
  const Dfa& matching(const std::string& pattern);
  // Any string.
  const Dfa& any();
  // What the facts say of a string: patterns, formats, lengths and values.
  Dfa language(const SchemaFacts& facts);

  static std::string spelled(const std::string& text);

 private:
  const Dfa& of_format(const std::string& format);
  Dfa of_length(uint32_t min, uint32_t max);

  const Dfa& keep(std::map<std::string, Dfa>& known, const std::string& name, Dfa dfa);

  Work& work_;
  size_t kept_bytes_ = 0;
  std::map<std::string, Dfa> patterns_, formats_;
  std::optional<Dfa> any_;
};

}  // namespace sluice::grammar
