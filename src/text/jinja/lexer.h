#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "text/value.h"

namespace sluice::text::jinja {

// Text that is no valid template.
class SyntaxError : public std::runtime_error {
 public:
  SyntaxError(const std::string& message, int line) : std::runtime_error(message), line(line) {}
  const int line;
};

enum class TokenType : uint8_t {
  kData,           // text outside of tags
  kVariableBegin,  // {{
  kVariableEnd,
  kBlockBegin,  // {%
  kBlockEnd,
  kName,
  kString,
  kNumber,
  kOperator,
  kEnd,
};

struct Token {
  TokenType type = TokenType::kEnd;
  int line = 1;
  std::string text;  // data, name, operator, or the value of a string
  Value number;      // an int or float

  bool is_name(std::string_view name) const { return type == TokenType::kName && text == name; }
  bool is_operator(std::string_view op) const { return type == TokenType::kOperator && text == op; }
};

// Splits a template into tokens as jinja2's lexer does with trim_blocks and lstrip_blocks: comments
// are gone, white space around tags is already cut, line endings are "\n", one trailing newline is
// dropped, and braces are known to balance. The last token is kEnd. Throws SyntaxError.
std::vector<Token> tokenize(std::string_view source);

}  // namespace sluice::text::jinja
