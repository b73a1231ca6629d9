#pragma once

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
// generation). What only a family of templates could use (blocks, imports), and automatic escaping,
// is refused by name. Throws SyntaxError.
class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {
    for (const char* name : kSpecialNames) name_index(name);
  }
  Template parse();

 private:
  // Counts nested calls of the parser.
  struct Nesting {
    explicit Nesting(Parser& parser);
    ~Nesting() { --parser.depth_; }
    Parser& parser;
  };

  const Token& current() const { return tokens_[position_]; }
  const Token& look() const;
  const Token& next();
  bool skip_name(std::string_view name);
  bool skip_operator(std::string_view op);
  void expect_name(std::string_view name);
  void expect_operator(std::string_view op);
  std::string expect_any_name();
  void expect(TokenType type, const char* what);
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
  ExprPtr parse_expression(bool with_condition = true);
  ExprPtr parse_condition();
  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filter = true);
  ExprPtr parse_primary(bool with_namespace = false);
  ExprPtr parse_literal();
  ExprPtr parse_name(bool with_namespace);
  ExprPtr parse_tuple(bool with_condition, bool parentheses = false);
  ExprPtr parse_target_tuple(bool with_namespace);
  template <typename ParseItem>
  ExprPtr parse_tuple_items(ParseItem parse_item, bool parentheses);
  ExprPtr parse_list();
  ExprPtr parse_dict();
  ExprPtr parse_postfix(ExprPtr node);
  ExprPtr parse_filter_expression(ExprPtr node);
  ExprPtr parse_subscript(ExprPtr node);
  ExprPtr parse_subscribed();
  void parse_call_args(Expr& call);
  ExprPtr parse_call(ExprPtr node);
  ExprPtr parse_filter(ExprPtr node, bool start_inline);
  ExprPtr parse_test(ExprPtr node);
  bool at_tuple_end() const;
  std::string parse_dotted_name();

  ExprPtr make(ExprKind kind, int line) const;
  ExprPtr make_constant(Constant constant, int line);
  ExprPtr make_name(const std::string& name, int line);
  int name_index(const std::string& name);
  // Appends a child and updates the depth; throws when it gets too deep.
  void adopt(Expr& parent, ExprPtr child) const;
  void deepen(Expr& parent, const Expr& child) const;
  ExprPtr binary(ExprKind kind, Op op, ExprPtr left, ExprPtr right, int line) const;

  std::vector<Token> tokens_;
  size_t position_ = 0;
  int depth_ = 0;
  int num_loops_ = 0;  // around what is being parsed
  Template template_;
  std::map<std::string, int> names_;
  std::vector<Stmt*> macros_;  // those whose bodies are being parsed
};

}  // namespace sluice::text::jinja
