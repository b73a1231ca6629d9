#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "grammar/rules.h"

namespace sluice::grammar {

using Json = nlohmann::ordered_json;

// The parts of JSON as rules. White space is bounded: at most one space, or one line feed and an
// indentation, where a model may write some; none before commas and colons.
class JsonRules {
 public:
  explicit JsonRules(RulesBuilder& builder) : builder_(builder) {}

  RulesBuilder& builder() const { return builder_; }
  NodeId white_space();
  NodeId any_value();
  NodeId any_object();
  NodeId number();  // any
  NodeId boolean();
  // A string of so many characters, whatever they are, and one whose spelling within the quotes
  // is of a language.
  NodeId string(uint32_t min, uint32_t max);
  NodeId string(Dfa content);

  NodeId object(Members members);
  NodeId array(Elements elements);
  // A member of an object: `key` with its quotes.
  Members::Pair member(NodeId key, NodeId value);
  Members::Pair element(NodeId value);
  // White space before a whole text.
  NodeId document(NodeId value) { return builder_.sequence({white_space(), value}); }

 private:
  Members::Pair with_comma(NodeId item);
  void make_any();

  RulesBuilder& builder_;
  NodeId white_space_ = kNoLimit;
  NodeId any_value_ = kNoLimit;
  NodeId any_object_ = kNoLimit;
  NodeId number_ = kNoLimit;
  NodeId boolean_ = kNoLimit;
};

}  // namespace sluice::grammar
