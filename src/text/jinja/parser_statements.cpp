#include <algorithm>
#include <utility>

#include "text/jinja/parser.h"

namespace sluice::text::jinja {

Parser::Nesting::Nesting(Parser& parser) : parser(parser) {
  if (++parser.depth_ > kMaxSyntaxDepth) {
    --parser.depth_;
    parser.fail("the template is nested too deeply");
  }
}

const Token& Parser::look() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }

const Token& Parser::next() {
  const Token& token = tokens_[position_];
  if (position_ + 1 < tokens_.size()) ++position_;
  return token;
}

bool Parser::skip_name(std::string_view name) {
  if (!current().is_name(name)) return false;
  next();
  return true;
}

bool Parser::skip_operator(std::string_view op) {
  if (!current().is_operator(op)) return false;
  next();
  return true;
}

void Parser::fail(const std::string& message, int line) const { throw SyntaxError(message, line); }

void Parser::fail_expecting(std::string_view what) const {
  fail("expected " + std::string(what) + ", got '" + current().text + "'");
}

void Parser::expect_operator(std::string_view op) {
  if (!skip_operator(op)) fail_expecting("'" + std::string(op) + "'");
}

std::string Parser::expect_any_name() {
  if (current().type != TokenType::kName) fail_expecting("a name");
  return next().text;
}

void Parser::expect(TokenType type, const char* what) {
  if (current().type != type) fail_expecting(what);
  next();
}

Template Parser::parse() {
  template_.body = parse_body({});
  return std::move(template_);
}

// Statements up to one of the tags `ends`, whose name is then the current token; without `ends`, up
// to the end of the template.
Body Parser::parse_body(const std::vector<std::string_view>& ends) {
  Nesting nesting(*this);
  Body body;
  const auto add_output = [&](ExprPtr expr) {
    if (body.empty() || body.back()->kind != StmtKind::kOutput) {
      body.push_back(std::make_unique<Stmt>(StmtKind::kOutput, expr->line));
    }
    body.back()->exprs.push_back(std::move(expr));
  };
  while (current().type != TokenType::kEnd) {
    const Token& token = next();
    if (token.type == TokenType::kData) {
      add_output(make_constant(Value::trusted(token.text), token.line));
    } else if (token.type == TokenType::kVariableBegin) {
      add_output(parse_tuple(true));
      expect(TokenType::kVariableEnd, "the end of the expression");
    } else {
      const bool is_end = std::any_of(ends.begin(), ends.end(),
                                      [&](std::string_view end) { return current().is_name(end); });
      if (is_end) return body;
      body.push_back(parse_statement());
      expect(TokenType::kBlockEnd, "the end of the tag");
    }
  }
  return body;
}

// The body behind a tag: skips an optional colon and the end of the tag first.
Body Parser::parse_block_body(const std::vector<std::string_view>& ends) {
  skip_operator(":");
  expect(TokenType::kBlockEnd, "the end of the tag");
  Body body = parse_body(ends);
  if (current().type == TokenType::kEnd) {
    fail("Unexpected end of template, expected '" + std::string(ends[0]) + "'");
  }
  return body;
}

Body Parser::parse_closed_body(std::string_view end) {
  Body body = parse_block_body({end});
  next();
  return body;
}

StmtPtr Parser::parse_statement() {
  if (current().type != TokenType::kName) fail("tag name expected");
  const Token& token = next();
  const std::string& tag = token.text;
  int line = token.line;
  if (tag == "for") return parse_for(line);
  if (tag == "if") return parse_if(line);
  if (tag == "set") return parse_set(line);
  if (tag == "macro") return parse_macro(line);
  if (tag == "call") return parse_call_block(line);
  if (tag == "filter") return parse_filter_block(line);
  if (tag == "with") return parse_with(line);
  for (const std::string_view refused :
       {"block", "extends", "include", "import", "from", "autoescape", "print", "do", "trans"}) {
    if (tag == refused) fail("the tag '" + tag + "' is not supported in chat templates", line);
  }
  if (tag == "generation") {
    auto stmt = std::make_unique<Stmt>(StmtKind::kWith, line);
    stmt->body = parse_closed_body("endgeneration");
    return stmt;
  }
  if (tag != "break" && tag != "continue") fail("Encountered unknown tag '" + tag + "'", line);
  if (num_loops_ == 0) fail("break or continue outside of a loop", line);
  return std::make_unique<Stmt>(tag == "break" ? StmtKind::kBreak : StmtKind::kContinue, line);
}

StmtPtr Parser::parse_for(int line) {
  auto stmt = std::make_unique<Stmt>(StmtKind::kFor, line);
  stmt->target = parse_assign_target(false);
  if (!skip_name("in")) fail_expecting("'in'");
  stmt->value = parse_tuple(false);
  if (skip_name("if")) stmt->test = parse_expression();
  stmt->recursive = skip_name("recursive");
  ++num_loops_;
  stmt->body = parse_block_body({"endfor", "else"});
  --num_loops_;
  if (next().text == "else") stmt->else_body = parse_closed_body("endfor");
  return stmt;
}

StmtPtr Parser::parse_if(int line) {
  auto result = std::make_unique<Stmt>(StmtKind::kIf, line);
  Stmt* branch = result.get();
  while (true) {
    branch->test = parse_tuple(false);
    branch->body = parse_block_body({"elif", "else", "endif"});
    const Token& token = next();
    if (token.text == "elif") {
      result->elifs.push_back(std::make_unique<Stmt>(StmtKind::kIf, token.line));
      branch = result->elifs.back().get();
      continue;
    }
    if (token.text == "else") result->else_body = parse_closed_body("endif");
    return result;
  }
}

void Parser::parse_signature(Stmt& stmt) {
  expect_operator("(");
  parse_items(")", [&] {
    ExprPtr param = parse_name_target();
    for (const ExprPtr& other : stmt.params) {
      if (other->text == param->text) fail("duplicate argument '" + param->text + "'");
    }
    stmt.params.push_back(std::move(param));
    if (skip_operator("=")) {
      stmt.defaults.push_back(parse_expression());
    } else if (!stmt.defaults.empty()) {
      fail("non-default argument follows default argument");
    }
  });
}

void Parser::parse_macro_body(Stmt& stmt, std::string_view end) {
  const int num_loops = std::exchange(num_loops_, 0);
  const bool outer_uses_caller = std::exchange(uses_caller_, false);
  ++num_macros_;
  stmt.body = parse_closed_body(end);
  --num_macros_;
  stmt.uses_caller = uses_caller_;
  uses_caller_ = uses_caller_ || outer_uses_caller;
  num_loops_ = num_loops;
}

StmtPtr Parser::parse_macro(int line) {
  auto stmt = std::make_unique<Stmt>(StmtKind::kMacro, line);
  stmt->target = parse_name_target();
  parse_signature(*stmt);
  parse_macro_body(*stmt, "endmacro");
  return stmt;
}

StmtPtr Parser::parse_call_block(int line) {
  auto stmt = std::make_unique<Stmt>(StmtKind::kCall, line);
  if (current().is_operator("(")) parse_signature(*stmt);
  stmt->value = parse_expression();
  if (stmt->value->kind != ExprKind::kCall) fail("expected call", line);
  parse_macro_body(*stmt, "endcall");
  return stmt;
}

StmtPtr Parser::parse_filter_block(int line) {
  auto stmt = std::make_unique<Stmt>(StmtKind::kFilter, line);
  stmt->value = parse_filter(nullptr, true);
  stmt->body = parse_closed_body("endfilter");
  return stmt;
}

StmtPtr Parser::parse_with(int line) {
  auto stmt = std::make_unique<Stmt>(StmtKind::kWith, line);
  while (current().type != TokenType::kBlockEnd) {
    if (!stmt->params.empty()) expect_operator(",");
    stmt->params.push_back(parse_assign_target(false));
    expect_operator("=");
    stmt->exprs.push_back(parse_expression());
  }
  stmt->body = parse_closed_body("endwith");
  return stmt;
}

StmtPtr Parser::parse_set(int line) {
  auto stmt = std::make_unique<Stmt>(StmtKind::kSet, line);
  stmt->target = parse_assign_target(true);
  if (skip_operator("=")) {
    stmt->value = parse_tuple(true);
    return stmt;
  }
  stmt->kind = StmtKind::kSetBlock;
  stmt->value = parse_filter(nullptr, false);
  stmt->body = parse_closed_body("endset");
  return stmt;
}

namespace {
bool can_assign(const Expr& target) {
  if (target.kind == ExprKind::kTuple) {
    return std::all_of(target.items.begin(), target.items.end(),
                       [](const ExprPtr& item) { return can_assign(*item); });
  }
  return target.kind == ExprKind::kName || target.kind == ExprKind::kNsRef;
}
}  // namespace

ExprPtr Parser::parse_assign_target(bool with_namespace) {
  ExprPtr target = parse_tuple_items([&] { return parse_primary(with_namespace); }, false);
  if (!can_assign(*target)) fail("can't assign to this expression", target->line);
  return target;
}

ExprPtr Parser::parse_name_target() {
  const int line = current().line;
  const std::string name = expect_any_name();
  if (find_constant(name) != nullptr) fail("can't assign to '" + name + "'", line);
  return make_name(name, line);
}

}  // namespace sluice::text::jinja
