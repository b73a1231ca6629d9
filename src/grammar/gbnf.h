#pragma once

#include <string_view>

#include "grammar/rules.h"

namespace sluice::grammar {

// Rules from a grammar in GBNF, llama.cpp's form: `root ::= "yes" | [0-9]{1,3} list*`, with
// literals, sets, groups, `.`, `*`, `+`, `?`, `{m,n}` and comments behind #. The text is what the
// rule `root` accepts. Throws Error: kInvalidArgument with the line for what is wrong, and as
// RulesBuilder does (a rule must not begin with itself).
NodeId add_gbnf(RulesBuilder& builder, std::string_view text);

}  // namespace sluice::grammar
