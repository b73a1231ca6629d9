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

void Parser::expect_name(std::string_view name) {
  if (!skip_name(name)) {
    fail("expected token '" + std::string(name) + "', got '" + current().text + "'");
  }
}

void Parser::expect_operator(std::string_view op) {
  if (!skip_operator(op)) {
    fail("expected token '" + std::string(op) + "', got '" + current().text + "'");
  }
}

std::string Parser::expect_any_name() {
  if (current().type != TokenType::kName) {
    fail("expected token 'name', got '" + current().text + "'");
  }
  return next().text;
}

void Parser::expect(TokenType type, const char* what) {
  if (current().type != type) {
    fail(std::string("expected token '") + what + "', got '" + current().text + "'");
  }
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
  StmtPtr output;
  auto flush = [&] {
    if (output) body.push_back(std::move(output));
  };
  auto add_output = [&](ExprPtr expr) {
    if (!output) {
      output = std::make_unique<Stmt>();
      output->line = expr->line;
    }
    output->exprs.push_back(std::move(expr));
  };
  while (current().type != TokenType::kEnd) {
    const Token& token = next();
    if (token.type == TokenType::kData) {
      Constant data;
      data.kind = Constant::Kind::kString;
      data.text = token.text;
      add_output(make_constant(std::move(data), token.line));
    } else if (token.type == TokenType::kVariableBegin) {
      add_output(parse_tuple(true));
      expect(TokenType::kVariableEnd, "end of print statement");
    } else {
      flush();
      bool at_end = std::any_of(ends.begin(), ends.end(),
                                [&](std::string_view end) { return current().is_name(end); });
      if (at_end) return body;
      body.push_back(parse_statement());
      expect(TokenType::kBlockEnd, "end of statement block");
    }
  }
  flush();
  return body;
}

// The body behind a tag: skips an optional colon and the end of the tag first.
Body Parser::parse_block_body(const std::vector<std::string_view>& ends) {
  skip_operator(":");
  expect(TokenType::kBlockEnd, "end of statement block");
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
  auto stmt = std::make_unique<Stmt>();
  stmt->line = line;
  if (tag == "generation") {
    stmt->kind = StmtKind::kGeneration;
    stmt->body = parse_closed_body("endgeneration");
  } else if (tag == "break" || tag == "continue") {
    if (num_loops_ == 0) fail("break or continue outside of a loop", line);
    stmt->kind = tag == "break" ? StmtKind::kBreak : StmtKind::kContinue;
  } else {
    fail("Encountered unknown tag '" + tag + "'", line);
  }
  return stmt;
}

StmtPtr Parser::parse_for(int line) {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = StmtKind::kFor;
  stmt->line = line;
  stmt->target = parse_assign_target(false);
  expect_name("in");
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
  auto result = std::make_unique<Stmt>();
  result->kind = StmtKind::kIf;
  result->line = line;
  Stmt* branch = result.get();
  while (true) {
    branch->test = parse_tuple(false);
    branch->body = parse_block_body({"elif", "else", "endif"});
    const Token& token = next();
    if (token.text == "elif") {
      auto elif = std::make_unique<Stmt>();
      elif->kind = StmtKind::kIf;
      elif->line = token.line;
      branch = elif.get();
      result->elifs.push_back(std::move(elif));
      continue;
    }
    if (token.text == "else") result->else_body = parse_closed_body("endif");
    return result;
  }
}

void Parser::parse_signature(Stmt& stmt) {
  expect_operator("(");
  while (!current().is_operator(")")) {
    if (!stmt.params.empty()) expect_operator(",");
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
  }
  expect_operator(")");
}

// Notes which of the special variables the body reads; those that are parameters are none.
void Parser::parse_macro_body(Stmt& stmt, std::string_view end) {
  const int num_loops = std::exchange(num_loops_, 0);
  macros_.push_back(&stmt);
  stmt.body = parse_closed_body(end);
  macros_.pop_back();
  num_loops_ = num_loops;
  for (const ExprPtr& param : stmt.params) {
    if (param->text == "caller") stmt.uses_caller = false;
    if (param->text == "kwargs") stmt.uses_kwargs = false;
    if (param->text == "varargs") stmt.uses_varargs = false;
  }
}

StmtPtr Parser::parse_macro(int line) {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = StmtKind::kMacro;
  stmt->line = line;
  stmt->target = parse_name_target();
  parse_signature(*stmt);
  parse_macro_body(*stmt, "endmacro");
  return stmt;
}

StmtPtr Parser::parse_call_block(int line) {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = StmtKind::kCall;
  stmt->line = line;
  if (current().is_operator("(")) parse_signature(*stmt);
  stmt->value = parse_expression();
  if (stmt->value->kind != ExprKind::kCall) fail("expected call", line);
  parse_macro_body(*stmt, "endcall");
  return stmt;
}

StmtPtr Parser::parse_filter_block(int line) {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = StmtKind::kFilter;
  stmt->line = line;
  stmt->value = parse_filter(nullptr, true);
  stmt->body = parse_closed_body("endfilter");
  return stmt;
}

StmtPtr Parser::parse_with(int line) {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = StmtKind::kWith;
  stmt->line = line;
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
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = StmtKind::kSet;
  stmt->line = line;
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
  ExprPtr target = parse_target_tuple(with_namespace);
  if (!can_assign(*target)) fail("can't assign to this expression", target->line);
  return target;
}

ExprPtr Parser::parse_name_target() {
  const int line = current().line;
  ExprPtr target = make_name(expect_any_name(), line);
  const std::string& name = target->text;
  for (std::string_view reserved : {"true", "false", "none", "True", "False", "None"}) {
    if (name == reserved) fail("can't assign to '" + name + "'", target->line);
  }
  return target;
}

}  // namespace sluice::text::jinja
