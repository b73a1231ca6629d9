#include "text/jinja/name_search.h"

namespace sluice::text::jinja {

namespace {

// Walks in the order in which jinja2 does and stops at the first read or assignment of a name.
class NameSearch {
 public:
  enum class Found { kNothing, kRead, kAssigned };

  NameSearch(std::string_view name, bool only_assignments)
      : name_(name), only_assignments_(only_assignments) {}

  void body(const Body& statements) {
    for (const StmtPtr& stmt : statements) statement(*stmt);
  }

  void statement(const Stmt& stmt) {
    if (found_ != Found::kNothing) return;
    if (stmt.kind == StmtKind::kBlock && !only_assignments_) return;
    if (stmt.kind == StmtKind::kFilter) body(stmt.body);
    if (stmt.kind == StmtKind::kCall) expr(stmt.value.get());
    if (stmt.test && stmt.kind == StmtKind::kIf) expr(stmt.test.get());
    target(stmt.target.get());
    // The parameters of macros and the targets of with are no assignments.
    for (const ExprPtr& param : stmt.params) {
      if (!only_assignments_) target(param.get());
    }
    for (const ExprPtr& item : stmt.exprs) expr(item.get());
    for (const ExprPtr& item : stmt.defaults) expr(item.get());
    if (stmt.kind != StmtKind::kCall) expr(stmt.value.get());
    if (stmt.kind != StmtKind::kFilter) body(stmt.body);
    body(stmt.elifs);
    body(stmt.else_body);
    if (stmt.kind == StmtKind::kFor) expr(stmt.test.get());
  }

  Found found() const { return found_; }

 private:
  void note(const std::string& name, Found what) {
    if (found_ == Found::kNothing && name == name_) found_ = what;
  }

  void target(const Expr* node) {
    if (node == nullptr) return;
    if (node->kind == ExprKind::kName) note(node->text, Found::kAssigned);
    for (const ExprPtr& item : node->items) target(item.get());
  }

  void expr(const Expr* node) {
    if (node == nullptr || found_ != Found::kNothing || only_assignments_) return;
    if (node->kind == ExprKind::kName) note(node->text, Found::kRead);
    for (const ExprPtr& item : node->items) expr(item.get());
    for (const auto& [name, value] : node->keywords) expr(value.get());
    expr(node->dynamic_args.get());
    expr(node->dynamic_keywords.get());
  }

  std::string_view name_;
  bool only_assignments_;
  Found found_ = Found::kNothing;
};

}  // namespace

bool reads_name(const Body& body, std::string_view name) {
  NameSearch search(name, false);
  search.body(body);
  return search.found() == NameSearch::Found::kRead;
}

bool assigns_name(const Stmt& loop, std::string_view name) {
  NameSearch search(name, true);
  search.statement(loop);
  return search.found() == NameSearch::Found::kAssigned;
}

}  // namespace sluice::text::jinja
