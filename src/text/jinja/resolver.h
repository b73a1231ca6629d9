#pragma once

#include "text/jinja/ast.h"

namespace sluice::text::jinja {

// Decides where every variable of the template lives, collects its constants, and finds its filters
// and tests. Follows jinja2's compiler, so that scoping is the same to the last oddity. Throws
// SyntaxError for what jinja2 refuses to compile: unknown filters and tests, a loop variable that
// is assigned to, break outside of a loop.
void resolve(Template& program);

}  // namespace sluice::text::jinja
