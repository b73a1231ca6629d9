#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace sluice::text::jinja {

// Nesting that a template's syntax may have; also the length of a chain such as a+b+c or a.b.c.
constexpr int kMaxSyntaxDepth = 200;

// Recursive descent over jinja2's grammar with the tags of transformers (loop controls,
// generation). What only a family of templates could use (blocks, imports), automatic escaping and
// what no prompt needs (powers, argument lists of unknown length) is refused by name. Throws
// SyntaxError.
class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {
    for (const char* name : {"loop", "caller"}) name_index(name);  // as SpecialName counts them
  }
  Template parse();

 private:
  // Counts nested calls of the parser.
  struct Nesting {
    explicit Nesting(Parser& parser);
    ~Nesting() { --parser.depth_; }
    Parser& parser;
  };
  struct Operator;

  const Token& current() const { return tokens_[position_]; }
  const Token& look() const;
  const Token& next();
  bool skip_name(std::string_view name);
  bool skip_operator(std::string_view op);
  void expect_operator(std::string_view op);
  std::string expect_any_name();
  void expect(TokenType type, const char* what);
  [[noreturn]] void fail_expecting(std::string_view what) const;
  [[noreturn]] void fail(const std::string& message, int line) const;
  [[noreturn]] void fail(const std::string& message) const { fail(message, current().line); }

  // Statements (parser_statements.cpp).
  Body parse_body(const std::vector<std::string_view>& ends);
  Body parse_block_body(const std::vector<std::string_view>& ends);
  Body parse_closed_body(std::string_view end);
  StmtPtr parse_statement();
  StmtPtr parse_for(int line);
  StmtPtr parse_if(int line);
  StmtPtr parse_macro(int line);
  StmtPtr parse_call_block(int line);
  StmtPtr parse_filter_block(int line);
  StmtPtr parse_with(int line);
  StmtPtr parse_set(int line);
  void parse_signature(Stmt& stmt);
  void parse_macro_body(Stmt& stmt, std::string_view end);
  ExprPtr parse_assign_target(bool with_namespace);
  ExprPtr parse_name_target();

  // Expressions (parser_expressions.cpp).
  ExprPtr parse_expression();
  ExprPtr parse_operators(int level);
  const Operator* take_operator(int level);
  ExprPtr parse_unary(bool with_filter = true);
  ExprPtr parse_primary(bool with_namespace = false);
  ExprPtr parse_name(bool with_namespace);
  ExprPtr parse_string();
  ExprPtr parse_tuple(bool with_condition, bool parentheses = false);
  ExprPtr parse_tuple_items(const std::function<ExprPtr()>& parse_item, bool parentheses);
  void parse_items(std::string_view end, const std::function<void()>& parse_item);
  ExprPtr parse_postfix(ExprPtr node);
  ExprPtr parse_filter_expression(ExprPtr node);
  ExprPtr parse_subscript(ExprPtr node);
  ExprPtr parse_index();
  void parse_call_args(Expr& call);
  ExprPtr parse_call(ExprPtr node);
  ExprPtr parse_filter(ExprPtr node, bool start_inline);
  ExprPtr parse_test(ExprPtr node);

  ExprPtr make_constant(Value constant, int line);
  ExprPtr make_name(const std::string& name, int line);
  int name_index(const std::string& name);
  // Appends a child and updates the depth; throws when it gets too deep.
  void adopt(Expr& parent, ExprPtr child) const;
  void deepen(Expr& parent, const Expr& child) const;
  ExprPtr make(ExprKind kind, int line, ExprPtr first, ExprPtr second = nullptr) const;

  std::vector<Token> tokens_;
  size_t position_ = 0;
  int depth_ = 0;
  int num_loops_ = 0;         // around what is being parsed
  int num_macros_ = 0;        // likewise
  bool uses_caller_ = false;  // of the macro's body that is being parsed
  Template template_;
  std::map<std::string, int> names_;
};

// The value that a name stands for; null when it is a variable's.
const Value* find_constant(std::string_view name);

}  // namespace sluice::text::jinja
