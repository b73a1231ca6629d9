#include "grammar/json_schema.h"

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "grammar/json_rules.h"
#include "grammar/schema_facts.h"
#include "grammar/schema_overlap.h"
#include "grammar/schema_strings.h"

namespace sluice::grammar {
namespace {

constexpr size_t kMaxConjunctions = 20'000;
constexpr size_t kMaxPatterns = 4;  // of patternProperties that hold for one object
constexpr size_t kMaxListed = 1000;
constexpr uint64_t kMaxWorkBytes = uint64_t{2} << 30;  // some seconds

// Rules for one value after the other: what stands within it is a reference until its turn comes,
// so that neither depth nor recursion of a schema matters.
class SchemaCompiler {
 public:
  SchemaCompiler(RulesBuilder& builder, std::string_view text)
      : document_(text, builder.work()),
        builder_(builder),
        json_(builder),
        strings_(builder.work()) {}

  NodeId compile() {
    const uint64_t begin = builder_.work().used_bytes();
    const NodeId root = value_of({&document_.root()});
    while (!pending_.empty()) {
      const auto [reference, conjunction] = std::move(pending_.front());
      pending_.pop_front();
      builder_.bind(reference, define(conjunction));
      if (builder_.work().used_bytes() - begin > kMaxWorkBytes) {
        throw Error(ErrorCode::kUnsupported,
                    "JSON Schema: it takes too long to prepare; make it simpler");
      }
    }
    return json_.document(root);
  }

 private:
  using Schemas = std::vector<const Json*>;

  // A value for which all these schemas hold.
  NodeId value_of(const Schemas& schemas) {
    if (schemas.empty()) return json_.any_value();
    Conjunction conjunction;
    for (const Json* schema : schemas) document_.expand(*schema, conjunction);
    conjunction.has_one_source = schemas.size() == 1;
    return value_of(std::move(conjunction));
  }

  NodeId value_of(Conjunction conjunction) {
    const auto known = nodes_.find(conjunction);
    if (known != nodes_.end()) return known->second;
    builder_.work().charge(sizeof(SchemaPart) * conjunction.parts.size() + 64);
    if (nodes_.size() >= kMaxConjunctions) {
      throw Error(ErrorCode::kUnsupported,
                  "JSON Schema: its alternatives make too many combinations; make it simpler");
    }
    const NodeId reference = builder_.reference();
    nodes_.emplace(conjunction, reference);
    pending_.emplace_back(reference, std::move(conjunction));
    return reference;
  }

  NodeId define(const Conjunction& conjunction) {
    for (size_t i = 0; i < conjunction.parts.size(); ++i) {
      const SchemaPart& part = conjunction.parts[i];
      const Json* any_of = part.has_any_of ? nullptr : find(*part.schema, "anyOf");
      if (any_of != nullptr) return choose(conjunction, i, "anyOf", *any_of);
      const Json* one_of = part.has_one_of ? nullptr : find(*part.schema, "oneOf");
      if (one_of != nullptr) return choose(conjunction, i, "oneOf", *one_of);
    }
    return plain(conjunction);
  }

  NodeId choose(const Conjunction& conjunction, size_t index, const char* keyword,
                const Json& list) {
    if (!list.is_array() || list.empty()) fail_keyword(keyword, "a list of schemas");
    const bool is_one_of = keyword == std::string_view("oneOf");
    std::vector<Conjunction> all;
    std::vector<TypeSet> written;
    for (const Json& alternative : list) {
      Conjunction chosen = conjunction;
      SchemaPart& part = chosen.parts[index];
      (is_one_of ? part.has_one_of : part.has_any_of) = true;
      document_.expand(alternative, chosen);
      const bool is_known = std::ranges::none_of(chosen.parts, has_choice);
      written.push_back(is_known ? gather_facts(chosen).wanted_types() : kAllTypes);
      all.push_back(std::move(chosen));
    }
    if (is_one_of) require_disjoint(document_, list, written);
    std::vector<NodeId> alternatives;
    for (Conjunction& chosen : all) alternatives.push_back(value_of(std::move(chosen)));
    return builder_.choice(alternatives);
  }

  // There are alternatives of which none was chosen.
  static bool has_choice(const SchemaPart& part) {
    return (!part.has_any_of && find(*part.schema, "anyOf") != nullptr) ||
           (!part.has_one_of && find(*part.schema, "oneOf") != nullptr);
  }

  // Without alternatives left.
  NodeId plain(const Conjunction& conjunction) {
    const SchemaFacts facts = gather_facts(conjunction);
    const TypeSet types = facts.written_types();
    if (facts.values) return values(facts, types, conjunction);
    std::vector<NodeId> nodes;
    if (types & kObject) nodes.push_back(object(facts, conjunction));
    if (types & kArray) nodes.push_back(array(facts, conjunction));
    if (types & kString) nodes.push_back(string(facts));
    if (types & kNumber) nodes.push_back(number(facts, types));
    if (types & kBoolean) nodes.push_back(json_.boolean());
    if (types & kNull) nodes.push_back(builder_.literal("null"));
    return builder_.choice(nodes);
  }

  NodeId number(const SchemaFacts& facts, TypeSet types) {
    NumberRange range = facts.numbers;
    if (!(types & kInteger)) {
      throw Error(ErrorCode::kUnsupported, "JSON Schema: numbers that are no integers");
    }
    range.is_integer = !(types & kFraction);
    return builder_.regular(number_language(range, builder_.work()));
  }

  NodeId string(const SchemaFacts& facts) {
    if (facts.has_string_rules()) return json_.string(strings_.language(facts));
    if (facts.min_length > facts.max_length) return builder_.choice({});
    const bool is_open = facts.max_length == UINT32_MAX;
    return json_.string(facts.min_length, is_open ? kNoLimit : facts.max_length);
  }

  // The values of enum and const that the other keywords allow.
  NodeId values(const SchemaFacts& facts, TypeSet types, const Conjunction& conjunction) {
    std::vector<std::string> texts;
    for (const Json* value : *facts.values) {
      const TypeSet type = type_of(*value);
      if ((type & types) == 0) continue;
      if ((type & kNumber) && !number_fits(facts, *value)) continue;
      if (type & (kArray | kObject)) require_plain(conjunction, type);
      if (type != kString) texts.push_back(value->dump());
    }
    std::vector<NodeId> nodes;
    if (!texts.empty()) {
      nodes.push_back(builder_.regular(Dfa::of_strings(std::move(texts), builder_.work())));
    }
    if (types & kString) {
      Dfa language = strings_.language(facts);
      if (!language.is_empty()) nodes.push_back(json_.string(std::move(language)));
    }
    return builder_.choice(nodes);
  }

  bool number_fits(const SchemaFacts& facts, const Json& value) const {
    const NumberRange& range = facts.numbers;
    if (!range.low && !range.high && range.multiple_of == 0) return true;
    Work& work = builder_.work();
    return number_language(range, work).accepts(value.dump());
  }

  // Lists and objects among the values stand as they are: what else is said of them is not checked.
  static void require_plain(const Conjunction& conjunction, TypeSet type) {
    constexpr const char* kAboutObjects[] = {
        "properties",    "patternProperties", "required",      "additionalProperties",
        "minProperties", "maxProperties",     "propertyNames", "unevaluatedProperties"};
    constexpr const char* kAboutArrays[] = {"items", "prefixItems", "minItems", "maxItems",
                                            "additionalItems"};
    for (const SchemaPart& part : conjunction.parts) {
      const auto check = [&](const char* keyword) {
        if (find(*part.schema, keyword) == nullptr) return;
        refuse_keyword(keyword, "together with \"enum\" or \"const\"");
      };
      if (type == kObject) std::ranges::for_each(kAboutObjects, check);
      if (type == kArray) std::ranges::for_each(kAboutArrays, check);
    }
  }

  // --- arrays ---

  // The schemas of a place in an array; `is_listed`: one of the parts says so of this place.
  static Schemas element_schemas(const Conjunction& conjunction, size_t index, bool& is_said) {
    Schemas schemas;
    for (const SchemaPart& part : conjunction.parts) {
      const Json* prefix = find(*part.schema, "prefixItems");
      const Json* rest = find(*part.schema, "items");
      if (rest != nullptr && rest->is_array()) {  // until draft 2019-09
        prefix = rest;
        rest = find(*part.schema, "additionalItems");
      }
      const Json* own = nullptr;
      if (prefix != nullptr && prefix->is_array() && index < prefix->size()) {
        own = &(*prefix)[index];
      } else if (rest != nullptr) {
        own = rest;
      }
      if (own == nullptr) continue;
      is_said = true;
      schemas.push_back(own);
    }
    return schemas;
  }

  static size_t num_listed(const Conjunction& conjunction) {
    size_t count = 0;
    for (const SchemaPart& part : conjunction.parts) {
      for (const char* keyword : {"prefixItems", "items"}) {
        const Json* list = find(*part.schema, keyword);
        if (list != nullptr && list->is_array()) count = std::max(count, list->size());
      }
    }
    if (count > kMaxListed) refuse_keyword("prefixItems", "with so many items");
    return count;
  }

  NodeId array(const SchemaFacts& facts, const Conjunction& conjunction) {
    if (facts.min_items > facts.max_items) return builder_.choice({});
    Elements elements;
    elements.min = facts.min_items;
    elements.max = facts.max_items == UINT32_MAX ? kNoLimit : facts.max_items;
    const size_t count = num_listed(conjunction);
    for (size_t i = 0; i < count; ++i) {
      bool is_said = false;
      elements.first.push_back(json_.element(value_of(element_schemas(conjunction, i, is_said))));
    }
    bool is_said = false;
    const Schemas rest = element_schemas(conjunction, count, is_said);
    if (is_said || count == 0 || facts.min_items > count) {
      elements.rest.push_back(json_.element(value_of(rest)));
    }
    return json_.array(std::move(elements));
  }

  // --- objects ---

  struct Pattern {
    const std::string* text;
    Schemas schemas;  // of all parts, by part
  };

  const Dfa& matching(const std::string& pattern) { return strings_.matching(pattern); }

  // The schemas of a member; `pattern_matches` says whether a pattern matches its name.
  template <typename Matches>
  static Schemas member_schemas(const Conjunction& conjunction, const std::string* name,
                                Matches pattern_matches, bool& is_said) {
    Schemas schemas;
    const Json* unevaluated = nullptr;
    for (const SchemaPart& part : conjunction.parts) {
      bool is_named = false;
      const Json* properties = find(*part.schema, "properties");
      if (name != nullptr && properties != nullptr) {
        if (const Json* own = find(*properties, *name)) {
          schemas.push_back(own);
          is_named = true;
        }
      }
      if (const Json* patterns = find(*part.schema, "patternProperties")) {
        if (!patterns->is_object()) fail_keyword("patternProperties", "an object");
        for (const auto& [pattern, schema] : patterns->items()) {
          if (!pattern_matches(pattern)) continue;
          schemas.push_back(&schema);
          is_named = true;
        }
      }
      const Json* others = find(*part.schema, "additionalProperties");
      if (!is_named && others != nullptr) {
        schemas.push_back(others);
        is_named = true;
      }
      is_said = is_said || is_named;
      if (const Json* own = find(*part.schema, "unevaluatedProperties")) unevaluated = own;
    }
    if (!is_said && unevaluated != nullptr) {
      schemas.push_back(unevaluated);
      is_said = true;
    }
    return schemas;
  }

  // All names that are written down, in their order.
  static std::vector<std::string> names_of(const SchemaFacts& facts,
                                           const Conjunction& conjunction) {
    std::vector<std::string> names;
    std::set<std::string> known;
    for (const SchemaPart& part : conjunction.parts) {
      const Json* properties = find(*part.schema, "properties");
      if (properties == nullptr) continue;
      if (!properties->is_object()) fail_keyword("properties", "an object");
      for (const auto& [name, schema] : properties->items()) {
        if (known.insert(name).second) names.push_back(name);
      }
    }
    for (const std::string& name : facts.required) {
      if (known.insert(name).second) names.push_back(name);
    }
    return names;
  }

  static std::vector<std::string> patterns_of(const Conjunction& conjunction) {
    std::set<std::string> patterns;
    for (const SchemaPart& part : conjunction.parts) {
      const Json* own = find(*part.schema, "patternProperties");
      if (own == nullptr) continue;
      for (const auto& [pattern, schema] : own->items()) patterns.insert(pattern);
    }
    if (patterns.size() > kMaxPatterns) {
      refuse_keyword("patternProperties",
                     "with more than " + std::to_string(kMaxPatterns) + " patterns");
    }
    return {patterns.begin(), patterns.end()};
  }

  // What names may be: nothing when propertyNames says nothing.
  std::optional<Dfa> name_language(const Conjunction& conjunction) {
    std::optional<Dfa> language;
    for (const SchemaPart& part : conjunction.parts) {
      const Json* schema = find(*part.schema, "propertyNames");
      if (schema == nullptr) continue;
      Conjunction own;
      document_.expand(*schema, own);
      for (const SchemaPart& inner : own.parts) {
        for (const char* keyword : {"anyOf", "oneOf"}) {
          if (find(*inner.schema, keyword) != nullptr) {
            refuse_keyword("propertyNames", std::string("with \"") + keyword + "\"");
          }
        }
      }
      const SchemaFacts facts = gather_facts(own);
      for (const SchemaFacts::Refusal& refusal : facts.refusals) {
        if (refusal.types & kString) refuse_keyword(refusal.keyword);
      }
      Dfa names;
      if (!facts.is_impossible && (facts.types & kString)) names = strings_.language(facts);
      language = language ? Dfa::intersect(*language, names, builder_.work()) : std::move(names);
    }
    return language;
  }

  NodeId object(const SchemaFacts& facts, const Conjunction& conjunction) {
    const std::vector<std::string> names = names_of(facts, conjunction);
    const std::vector<std::string> patterns = patterns_of(conjunction);
    const std::optional<Dfa> allowed_names = name_language(conjunction);
    Members members;
    members.max = facts.max_properties == UINT32_MAX ? kNoLimit : facts.max_properties;
    members.min = facts.min_properties;
    for (const std::string& name : names) {
      const std::string spelled = SchemaStrings::spelled(name);
      const auto matches = [&](const std::string& pattern) {
        return matching(pattern).accepts(spelled);
      };
      bool is_said = false;
      const Schemas schemas = member_schemas(conjunction, &name, matches, is_said);
      const bool is_required = std::ranges::find(facts.required, name) != facts.required.end();
      const bool may_be = !allowed_names || allowed_names->accepts(spelled);
      const bool is_never = std::ranges::any_of(
          schemas, [](const Json* schema) { return schema->is_boolean() && !schema->get<bool>(); });
      if (!may_be || is_never) {
        if (is_required) return builder_.choice({});
        continue;
      }
      const NodeId key = builder_.literal("\"" + spelled + "\"");
      members.named.push_back({json_.member(key, value_of(schemas)), is_required});
    }
    add_others(conjunction, names, patterns, allowed_names, members);
    const auto num_required = static_cast<size_t>(std::ranges::count_if(
        members.named, [](const Members::Named& member) { return member.is_required; }));
    if (members.max < std::max<size_t>(num_required, members.min)) return builder_.choice({});
    if (members.min > members.named.size() + (members.others.empty() ? 0 : 1)) {
      if (members.others.empty()) return builder_.choice({});
      refuse_keyword("minProperties", "above the number of named properties and one");
    }
    return json_.object(std::move(members));
  }

  // Members whose names are not written down: for each set of patterns that a name can match.
  void add_others(const Conjunction& conjunction, const std::vector<std::string>& names,
                  const std::vector<std::string>& patterns, const std::optional<Dfa>& allowed_names,
                  Members& members) {
    Work& work = builder_.work();
    for (size_t set = 0; set < size_t{1} << patterns.size(); ++set) {
      const auto matches = [&](const std::string& pattern) {
        const auto at = std::ranges::find(patterns, pattern);
        return (set >> (at - patterns.begin()) & 1) != 0;
      };
      bool is_said = false;
      const Schemas schemas = member_schemas(conjunction, nullptr, matches, is_said);
      const bool is_open =
          (names.empty() && patterns.empty()) || members.min > members.named.size();
      if (!is_said && !is_open) continue;
      const bool is_never = std::ranges::any_of(
          schemas, [](const Json* schema) { return schema->is_boolean() && !schema->get<bool>(); });
      if (is_never) continue;
      std::vector<std::string> spelled;
      for (const std::string& name : names) spelled.push_back(SchemaStrings::spelled(name));
      Dfa keys = allowed_names ? *allowed_names : strings_.any();
      keys = Dfa::subtract(keys, Dfa::of_strings(std::move(spelled), work), work);
      for (size_t i = 0; i < patterns.size(); ++i) {
        const Dfa& pattern = matching(patterns[i]);
        keys =
            set >> i & 1 ? Dfa::intersect(keys, pattern, work) : Dfa::subtract(keys, pattern, work);
      }
      if (keys.is_empty()) continue;
      members.others.push_back(json_.member(json_.string(std::move(keys)), value_of(schemas)));
    }
  }

  SchemaDocument document_;
  RulesBuilder& builder_;
  JsonRules json_;
  SchemaStrings strings_;
  std::map<Conjunction, NodeId> nodes_;
  std::deque<std::pair<NodeId, Conjunction>> pending_;
};

}  // namespace

NodeId add_json_schema(RulesBuilder& builder, std::string_view schema) {
  return SchemaCompiler(builder, schema).compile();
}

NodeId add_json_object(RulesBuilder& builder) {
  JsonRules json(builder);
  return json.document(json.any_object());
}

}  // namespace sluice::grammar
