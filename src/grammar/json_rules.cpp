#include "grammar/json_rules.h"

#include "grammar/number_language.h"
#include "grammar/regex.h"

namespace sluice::grammar {

NodeId JsonRules::white_space() {
  if (white_space_ == kNoLimit) {
    white_space_ = builder_.regular(
        whole_dfa(" ?|\\n {0,40}|\\n\\t{0,12}", CharSpelling::kPlain, builder_.work()));
  }
  return white_space_;
}

NodeId JsonRules::number() {
  if (number_ == kNoLimit) number_ = builder_.regular(number_language({}, builder_.work()));
  return number_;
}

NodeId JsonRules::boolean() {
  if (boolean_ == kNoLimit) {
    boolean_ = builder_.regular(Dfa::of_strings({"false", "true"}, builder_.work()));
  }
  return boolean_;
}

NodeId JsonRules::string(uint32_t min, uint32_t max) {
  const NodeId quote = builder_.literal("\"");
  return builder_.sequence({quote, builder_.text_characters(min, max), quote});
}

NodeId JsonRules::string(Dfa content) {
  const NodeId quote = builder_.literal("\"");
  return builder_.sequence({quote, builder_.regular(std::move(content)), quote});
}

Members::Pair JsonRules::with_comma(NodeId item) {
  const NodeId spaced = builder_.sequence({white_space(), item});
  return {spaced, builder_.sequence({builder_.literal(","), spaced})};
}

Members::Pair JsonRules::member(NodeId key, NodeId value) {
  return with_comma(builder_.sequence({key, builder_.literal(":"), white_space(), value}));
}

Members::Pair JsonRules::element(NodeId value) { return with_comma(value); }

NodeId JsonRules::object(Members members) {
  return builder_.sequence({builder_.literal("{"), builder_.members(std::move(members)),
                            white_space(), builder_.literal("}")});
}

NodeId JsonRules::array(Elements elements) {
  return builder_.sequence({builder_.literal("["), builder_.elements(std::move(elements)),
                            white_space(), builder_.literal("]")});
}

void JsonRules::make_any() {
  if (any_value_ != kNoLimit) return;
  any_value_ = builder_.reference();
  Members members;
  members.others.push_back(member(string(0, kNoLimit), any_value_));
  any_object_ = object(std::move(members));
  Elements elements;
  elements.rest.push_back(element(any_value_));
  const NodeId any_array = array(std::move(elements));
  builder_.bind(any_value_, builder_.choice({any_object_, any_array, string(0, kNoLimit), number(),
                                             boolean(), builder_.literal("null")}));
}

NodeId JsonRules::any_value() {
  make_any();
  return any_value_;
}

NodeId JsonRules::any_object() {
  make_any();
  return any_object_;
}

}  // namespace sluice::grammar
