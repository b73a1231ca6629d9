#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/gotmpl/ast.h"

namespace sluice::text::gotmpl {

enum class TokenType : uint8_t {
  kText,      // between actions, trimmed
  kOpen,      // {{
  kClose,     // }}
  kName,      // a function or keyword
  kField,     // .Name, without the dot
  kDot,       // . alone
  kVariable,  // $name, without the $
  kInteger,
  kFloat,
  kString,
  kSymbol,  // | ( ) , = :=
  kEnd,
};

struct Token {
  TokenType type = TokenType::kEnd;
  int line = 1;
  bool has_space_before = false;
  std::string text;
  int64_t integer = 0;
  double real = 0;
};

// Comments are left out, and texts that trimming has left empty. Throws TemplateError.
std::vector<Token> tokenize(std::string_view source);

}  // namespace sluice::text::gotmpl
