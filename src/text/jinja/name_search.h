#pragma once

#include <string_view>

#include "text/jinja/ast.h"

namespace sluice::text::jinja {

// Whether the statements read `name` before they set it, going into inner scopes but not blocks.
bool reads_name(const Body& body, std::string_view name);
// Whether anything in the loop (target included) assigns to `name`.
bool assigns_name(const Stmt& loop, std::string_view name);

}  // namespace sluice::text::jinja
