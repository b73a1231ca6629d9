#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "grammar/number_language.h"
#include "grammar/schema_document.h"

namespace sluice::grammar {

// Types of JSON values as bits; a number is an integer or has a fraction.
using TypeSet = uint8_t;
inline constexpr TypeSet kNull = 1, kBoolean = 2, kInteger = 4, kFraction = 8, kString = 16,
                         kArray = 32, kObject = 64;
inline constexpr TypeSet kNumber = kInteger | kFraction;
inline constexpr TypeSet kAllTypes = 127;

TypeSet type_of(const Json& value);

// What a conjunction says about a value itself, its alternatives (anyOf, oneOf) left out. What it
// says about members and elements is looked up where it is needed.
struct SchemaFacts {
  TypeSet types = kAllTypes;
  // Types that keywords speak of where no type is said: who writes "properties" means an object.
  TypeSet implied = 0;
  bool is_impossible = false;
  std::optional<std::vector<const Json*>> values;  // enum, const

  uint32_t min_length = 0, max_length = UINT32_MAX;
  std::vector<std::string> patterns, formats;
  NumberRange numbers;  // without is_integer
  uint32_t min_items = 0, max_items = UINT32_MAX;
  uint32_t min_properties = 0, max_properties = UINT32_MAX;
  std::vector<std::string> required;
  // Keywords that cannot be honoured, and the types they are about.
  struct Refusal {
    TypeSet types = 0;
    std::string keyword;
  };
  std::vector<Refusal> refusals;

  // What may be written; throws Error(kUnsupported) for a keyword that says more about these types
  // than can be honoured.
  TypeSet written_types() const;
  // The same without looking at what cannot be honoured.
  TypeSet wanted_types() const;
  bool has_string_rules() const { return !patterns.empty() || !formats.empty(); }
};

SchemaFacts gather_facts(const Conjunction& conjunction);

}  // namespace sluice::grammar
