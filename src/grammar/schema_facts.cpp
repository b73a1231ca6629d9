#include "grammar/schema_facts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace sluice::grammar {
namespace {

constexpr std::string_view kBase64 =
    "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$";

TypeSet named_type(const std::string& name) {
  struct Named {
    std::string_view name;
    TypeSet types;
  };
  constexpr std::array kNamed = {Named{"null", kNull},       Named{"boolean", kBoolean},
                                 Named{"integer", kInteger}, Named{"number", kNumber},
                                 Named{"string", kString},   Named{"array", kArray},
                                 Named{"object", kObject}};
  for (const Named& named : kNamed) {
    if (named.name == name) return named.types;
  }
  throw Error(ErrorCode::kInvalidArgument,
              "invalid JSON Schema: there is no type \"" + name + "\"");
}

TypeSet read_types(const Json& value) {
  if (value.is_string()) return named_type(value.get<std::string>());
  if (!value.is_array()) fail_keyword("type", "a string or a list of strings");
  TypeSet types = 0;
  for (const Json& item : value) {
    if (!item.is_string()) fail_keyword("type", "a string or a list of strings");
    types |= named_type(item.get<std::string>());
  }
  return types;
}

uint32_t read_count(const char* keyword, const Json& value) {
  double number = -1;
  if (value.is_number()) number = value.get<double>();
  if (!(number >= 0) || number != std::floor(number)) fail_keyword(keyword, "a whole number");
  return number < 2e9 ? static_cast<uint32_t>(number) : UINT32_MAX;
}

std::string read_string(const char* keyword, const Json& value) {
  if (!value.is_string()) fail_keyword(keyword, "a string");
  return value.get<std::string>();
}

// -1, 0 or 1.
int compare(const Decimal& a, const Decimal& b) {
  const auto sign = [](const Decimal& x) { return x.is_zero() ? 0 : x.is_negative ? -1 : 1; };
  if (sign(a) != sign(b)) return sign(a) < sign(b) ? -1 : 1;
  int size = 0;
  if (a.whole.size() != b.whole.size()) {
    size = a.whole.size() < b.whole.size() ? -1 : 1;
  } else if (a.whole != b.whole) {
    size = a.whole < b.whole ? -1 : 1;
  } else if (a.fraction != b.fraction) {
    size = a.fraction < b.fraction ? -1 : 1;
  }
  return a.is_negative ? -size : size;
}

// Reads the keywords of one schema into the facts.
class Reader {
 public:
  Reader(SchemaFacts& facts, const Json& schema, bool knows_evaluated)
      : facts_(facts), schema_(schema), knows_evaluated_(knows_evaluated) {}

  void read() {
    read_values();
    read_numbers();
    read_strings();
    read_containers();
    read_refused();
  }

 private:
  const Json* take(const char* keyword, TypeSet type) {
    const Json* value = find(schema_, keyword);
    if (value != nullptr) facts_.implied |= type;
    return value;
  }

  void read_values() {
    if (const Json* type = find(schema_, "type")) facts_.types &= read_types(*type);
    if (const Json* list = find(schema_, "enum")) {
      if (!list->is_array()) fail_keyword("enum", "a list");
      std::vector<const Json*> values;
      for (const Json& value : *list) values.push_back(&value);
      keep_values(std::move(values));
    }
    if (const Json* value = find(schema_, "const")) keep_values({value});
  }

  void keep_values(std::vector<const Json*> values) {
    if (facts_.values) {
      std::erase_if(values, [&](const Json* value) {
        return std::ranges::none_of(*facts_.values,
                                    [&](const Json* other) { return *other == *value; });
      });
    }
    facts_.values = std::move(values);
  }

  void read_numbers() {
    const Json* minimum = take("minimum", kNumber);
    const Json* maximum = take("maximum", kNumber);
    const Json* above = take("exclusiveMinimum", kNumber);
    const Json* below = take("exclusiveMaximum", kNumber);
    // Draft 4 says true or false and means the other keyword.
    const auto is_true = [](const Json* value) {
      return value != nullptr && value->is_boolean() && value->get<bool>();
    };
    if (minimum != nullptr) add_low("minimum", *minimum, is_true(above));
    if (maximum != nullptr) add_high("maximum", *maximum, is_true(below));
    if (above != nullptr && !above->is_boolean()) add_low("exclusiveMinimum", *above, true);
    if (below != nullptr && !below->is_boolean()) add_high("exclusiveMaximum", *below, true);
    if (const Json* multiple = take("multipleOf", kNumber)) add_multiple(*multiple);
  }

  std::optional<Decimal> read_number(const char* keyword, const Json& value) {
    if (!value.is_number()) fail_keyword(keyword, "a number");
    return Decimal::parse(value.dump());
  }

  void add_low(const char* keyword, const Json& value, bool is_strict) {
    const auto number = read_number(keyword, value);
    facts_.numbers.is_bounded = true;
    if (!number) {
      if (value.get<double>() > -1e15) facts_.refusals.push_back({kNumber, keyword});
      return;
    }
    auto& low = facts_.numbers.low;
    const int order = low ? compare(*number, low->value) : 1;
    if (order > 0 || (order == 0 && is_strict)) low = Bound{*number, is_strict};
  }

  void add_high(const char* keyword, const Json& value, bool is_strict) {
    const auto number = read_number(keyword, value);
    facts_.numbers.is_bounded = true;
    if (!number) {
      if (value.get<double>() < 1e15) facts_.refusals.push_back({kNumber, keyword});
      return;
    }
    auto& high = facts_.numbers.high;
    const int order = high ? compare(*number, high->value) : -1;
    if (order < 0 || (order == 0 && is_strict)) high = Bound{*number, is_strict};
  }

  void add_multiple(const Json& value) {
    const double number = value.is_number() ? value.get<double>() : 0;
    if (!(number > 0)) fail_keyword("multipleOf", "a number above 0");
    if (number != std::floor(number) || number > 1e6) {
      facts_.refusals.push_back({kNumber, "multipleOf"});
      return;
    }
    const auto whole = static_cast<uint64_t>(number);
    uint64_t& of = facts_.numbers.multiple_of;
    of = of == 0 ? whole : std::lcm(of, whole);
  }

  void read_strings() {
    if (const Json* value = take("minLength", kString)) {
      facts_.min_length = std::max(facts_.min_length, read_count("minLength", *value));
    }
    if (const Json* value = take("maxLength", kString)) {
      facts_.max_length = std::min(facts_.max_length, read_count("maxLength", *value));
    }
    if (const Json* value = take("pattern", kString)) {
      facts_.patterns.push_back(read_string("pattern", *value));
    }
    if (const Json* value = find(schema_, "contentEncoding")) {
      if (*value == "base64") {
        facts_.patterns.push_back(std::string(kBase64));
      } else {
        facts_.refusals.push_back({kString, "contentEncoding"});
      }
    }
    if (const Json* value = find(schema_, "format")) {
      facts_.formats.push_back(read_string("format", *value));
    }
  }

  void read_containers() {
    for (const char* keyword : {"items", "prefixItems", "additionalItems"}) take(keyword, kArray);
    for (const char* keyword : {"properties", "patternProperties", "additionalProperties",
                                "propertyNames", "unevaluatedProperties"}) {
      take(keyword, kObject);
    }
    if (const Json* value = take("minItems", kArray)) {
      facts_.min_items = std::max(facts_.min_items, read_count("minItems", *value));
    }
    if (const Json* value = take("maxItems", kArray)) {
      facts_.max_items = std::min(facts_.max_items, read_count("maxItems", *value));
    }
    if (const Json* value = take("minProperties", kObject)) {
      facts_.min_properties = std::max(facts_.min_properties, read_count("minProperties", *value));
    }
    if (const Json* value = take("maxProperties", kObject)) {
      facts_.max_properties = std::min(facts_.max_properties, read_count("maxProperties", *value));
    }
    const Json* required = take("required", kObject);
    if (required == nullptr || required->is_boolean()) return;  // true in draft 3
    if (!required->is_array()) fail_keyword("required", "a list of strings");
    for (const Json& name : *required) {
      const std::string text = read_string("required", name);
      if (std::ranges::find(facts_.required, text) == facts_.required.end()) {
        facts_.required.push_back(text);
      }
    }
  }

  void read_refused() {
    struct Refused {
      const char* keyword;
      TypeSet types;
      TypeSet implied;
    };
    constexpr std::array kRefused = {
        Refused{"not", kAllTypes, 0},
        Refused{"if", kAllTypes, 0},
        Refused{"$dynamicRef", kAllTypes, 0},
        Refused{"$recursiveRef", kAllTypes, 0},
        Refused{"extends", kAllTypes, 0},
        Refused{"disallow", kAllTypes, 0},
        Refused{"contentMediaType", kString, kString},
        Refused{"contains", kArray, kArray},
        Refused{"uniqueItems", kArray, kArray},
        Refused{"unevaluatedItems", kArray, kArray},
        Refused{"dependentRequired", kObject, kObject},
        Refused{"dependentSchemas", kObject, kObject},
        Refused{"dependencies", kObject, kObject},
    };
    for (const Refused& refused : kRefused) {
      const Json* value = find(schema_, refused.keyword);
      if (value == nullptr || says_nothing(refused.keyword, *value)) continue;
      facts_.implied |= refused.implied;
      facts_.refusals.push_back({refused.types, refused.keyword});
    }
    const Json* unevaluated = find(schema_, "unevaluatedProperties");
    const bool says_something =
        unevaluated != nullptr && !(unevaluated->is_boolean() && unevaluated->get<bool>());
    if (says_something && !knows_evaluated_) {
      facts_.refusals.push_back({kObject, "unevaluatedProperties"});
    }
  }

  static bool says_nothing(std::string_view keyword, const Json& value) {
    if (keyword == "not" || keyword == "uniqueItems") return value == false;
    if (keyword == "unevaluatedItems") return value == true;
    if (keyword.starts_with("depend")) return value.empty();
    return false;
  }

  SchemaFacts& facts_;
  const Json& schema_;
  const bool knows_evaluated_;
};

}  // namespace

TypeSet type_of(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return kNull;
    case Json::value_t::boolean:
      return kBoolean;
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return kInteger;
    case Json::value_t::number_float:
      return value.get<double>() == std::floor(value.get<double>()) ? kInteger : kFraction;
    case Json::value_t::string:
      return kString;
    case Json::value_t::array:
      return kArray;
    default:
      return kObject;
  }
}

TypeSet SchemaFacts::wanted_types() const {
  if (is_impossible) return 0;
  TypeSet written = types;
  if (values) {
    TypeSet of_values = 0;
    for (const Json* value : *values) of_values |= type_of(*value);
    written &= of_values;
  } else if (types == kAllTypes && implied != 0) {
    written = implied;
  }
  return written;
}

TypeSet SchemaFacts::written_types() const {
  const TypeSet written = wanted_types();
  for (const Refusal& refusal : refusals) {
    if ((refusal.types & written) != 0) refuse_keyword(refusal.keyword);
  }
  return written;
}

SchemaFacts gather_facts(const Conjunction& conjunction) {
  SchemaFacts facts;
  for (size_t i = 0; i < conjunction.parts.size(); ++i) {
    const Json& schema = *conjunction.parts[i].schema;
    if (schema.is_boolean()) {
      facts.is_impossible = true;
      continue;
    }
    Reader(facts, schema, conjunction.has_one_source && i == 0).read();
  }
  return facts;
}

}  // namespace sluice::grammar
