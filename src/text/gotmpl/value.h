#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "text/prompt_text.h"
#include "text/value.h"

// Values while a Go template runs: nothing of the context is copied.
namespace sluice::text::gotmpl {

// What is not there. Go says so where a whole template's field is missing.
struct Missing {
  bool is_told = false;
};
struct ListView {
  const Value* items = nullptr;
  size_t size = 0;
};
using MadeText = std::shared_ptr<const PromptText>;

// A Value pointer is a string, a mapping or none; a PromptText pointer is the template's constant.
using Val = std::variant<Missing, bool, int64_t, double, const Value*, ListView, const PromptText*,
                         MadeText>;

// JSON as Go writes it, with <, > and & escaped.
std::string to_json(const Val& value, int max_depth);

}  // namespace sluice::text::gotmpl
