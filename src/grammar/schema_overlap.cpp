#include "grammar/schema_overlap.h"

#include <algorithm>
#include <vector>

#include "grammar/schema_facts.h"

namespace sluice::grammar {
namespace {

constexpr int kMaxOverlapDepth = 3;
constexpr size_t kMaxAlternatives = 200;

// What one alternative says for certain: alternatives within it could only say more.
struct Alternative {
  Conjunction conjunction;
  SchemaFacts facts;
  TypeSet written = kAllTypes;
};

Alternative alternative_of(SchemaDocument& document, const Json& schema) {
  Alternative result;
  document.expand(schema, result.conjunction);
  result.facts = gather_facts(result.conjunction);
  if (result.facts.is_impossible) result.facts.types = 0;
  if (result.facts.values) {
    TypeSet types = 0;
    for (const Json* value : *result.facts.values) types |= type_of(*value);
    result.facts.types &= types;
  }
  result.written = result.facts.types;
  return result;
}

const Json* property_of(const Alternative& alternative, const std::string& name) {
  for (const SchemaPart& part : alternative.conjunction.parts) {
    const Json* properties = find(*part.schema, "properties");
    const Json* own = properties == nullptr ? nullptr : find(*properties, name);
    if (own != nullptr) return own;
  }
  return nullptr;
}

// Whether some part has no place for such a property.
bool forbids(const Alternative& alternative, const std::string& name) {
  for (const SchemaPart& part : alternative.conjunction.parts) {
    const Json* others = find(*part.schema, "additionalProperties");
    if (others == nullptr || *others != false) continue;
    if (find(*part.schema, "patternProperties") != nullptr) continue;
    const Json* properties = find(*part.schema, "properties");
    if (properties == nullptr || find(*properties, name) == nullptr) return true;
  }
  return false;
}

// Objects are equal in whatever order: lists and objects are not compared.
bool may_be_equal(const Json& a, const Json& b) {
  return a == b || (a.is_structured() && a.type() == b.type());
}

bool are_disjoint(SchemaDocument& document, const Alternative& a, const Alternative& b, int depth);

bool objects_are_disjoint(SchemaDocument& document, const Alternative& a, const Alternative& b,
                          int depth) {
  for (const auto* facts : {&a.facts, &b.facts}) {
    for (const std::string& name : facts->required) {
      if (forbids(a, name) || forbids(b, name)) return true;
      const Json* in_a = property_of(a, name);
      const Json* in_b = property_of(b, name);
      if (in_a == nullptr || in_b == nullptr || depth >= kMaxOverlapDepth) continue;
      if (are_disjoint(document, alternative_of(document, *in_a), alternative_of(document, *in_b),
                       depth + 1)) {
        return true;
      }
    }
  }
  return false;
}

bool are_disjoint(SchemaDocument& document, const Alternative& a, const Alternative& b, int depth) {
  document.work().charge(256);
  const TypeSet common =
      static_cast<TypeSet>((a.facts.types & b.written) | (a.written & b.facts.types));
  if (common == 0) return true;
  if (a.facts.values && b.facts.values) {
    return std::ranges::none_of(*a.facts.values, [&](const Json* value) {
      return std::ranges::any_of(*b.facts.values,
                                 [&](const Json* other) { return may_be_equal(*other, *value); });
    });
  }
  return common == kObject && objects_are_disjoint(document, a, b, depth);
}

}  // namespace

void require_disjoint(SchemaDocument& document, const Json& alternatives,
                      const std::vector<TypeSet>& written) {
  if (alternatives.size() > kMaxAlternatives) refuse_keyword("oneOf", "with so many alternatives");
  std::vector<Alternative> known;
  for (const Json& schema : alternatives) {
    Alternative added = alternative_of(document, schema);
    added.written &= written[known.size()];
    for (const Alternative& other : known) {
      if (are_disjoint(document, other, added, 0)) continue;
      refuse_keyword("oneOf",
                     "where a value may be valid against two alternatives; use \"anyOf\", or a "
                     "required property with another \"const\" in each");
    }
    known.push_back(std::move(added));
  }
}

}  // namespace sluice::grammar
