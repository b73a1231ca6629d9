#pragma once

#include <vector>

#include "grammar/schema_document.h"
#include "grammar/schema_facts.h"

namespace sluice::grammar {

// The alternatives of a oneOf, each with the types that are written of it: no value that is written
// may be valid against another. Throws Error(kUnsupported) when that cannot be told from their
// types, values and required properties.
void require_disjoint(SchemaDocument& document, const Json& alternatives,
                      const std::vector<TypeSet>& written);

}  // namespace sluice::grammar
