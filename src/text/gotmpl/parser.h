#pragma once

#include <string_view>

#include "text/gotmpl/ast.h"

namespace sluice::text::gotmpl {

// Nesting of blocks and parentheses that a template may have.
inline constexpr int kMaxSyntaxDepth = 100;

// Throws TemplateError.
Template parse(std::string_view source);

}  // namespace sluice::text::gotmpl
