#pragma once

#include <string_view>

#include "grammar/rules.h"

namespace sluice::grammar {

// Rules for the texts that a JSON Schema (drafts 4 to 2020-12) accepts: every text of the rules is
// valid against it. Not every valid text is of the rules:
// - members come in the order of "properties" (then "required", then others);
// - where "properties" or "patternProperties" says which members there are and nothing is said of
//   others ("additionalProperties"), there are no others; the same for "prefixItems";
// - where no "type" is said, it is the one that the other keywords are about;
// - strings that a pattern or format rules spell each character in one way; numbers have at most 16
//   digits before the point and behind it; formats and patterns stand for what all readers take.
// Throws Error: kUnsupported naming a keyword that cannot be honoured, kInvalidArgument for what is
// no schema; and as RulesBuilder does.
NodeId add_json_schema(RulesBuilder& builder, std::string_view schema);

// Any JSON object: JSON mode.
NodeId add_json_object(RulesBuilder& builder);

}  // namespace sluice::grammar
