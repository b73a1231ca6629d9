#include "text/jinja/resolver.h"

#include <algorithm>
#include <deque>

#include "text/jinja/builtins.h"
#include "text/jinja/lexer.h"
#include "text/jinja/name_search.h"
#include "text/jinja/symbols.h"

namespace sluice::text::jinja {

namespace {

enum class Mode { kLoad, kStore, kParameter };

// First pass over one scope: which names it reads and sets, not entering inner scopes.
class ScopeVisitor {
 public:
  explicit ScopeVisitor(Symbols& symbols) : symbols_(&symbols) {}

  void visit_body(const Body& body) {
    for (const StmtPtr& stmt : body) visit(*stmt);
  }

  void visit(const Expr& expr, Mode mode = Mode::kLoad) {
    if (expr.kind == ExprKind::kName) {
      if (mode == Mode::kLoad) symbols_->load(expr.text);
      if (mode == Mode::kStore) symbols_->store(expr.text);
      if (mode == Mode::kParameter) symbols_->declare_parameter(expr.text);
      return;
    }
    if (expr.kind == ExprKind::kNsRef) return symbols_->load(expr.text);
    for (const ExprPtr& item : expr.items) {
      if (item) visit(*item, mode);
    }
    for (const auto& [name, value] : expr.keywords) visit(*value);
    if (expr.dynamic_args) visit(*expr.dynamic_args);
    if (expr.dynamic_keywords) visit(*expr.dynamic_keywords);
  }

  void visit(const Stmt& stmt) {
    switch (stmt.kind) {
      case StmtKind::kIf:
        return visit_if(stmt);
      case StmtKind::kMacro:
        return symbols_->store(stmt.name);
      case StmtKind::kSet:
        visit(*stmt.value);
        return visit(*stmt.target, Mode::kStore);
      case StmtKind::kSetBlock:
        return visit(*stmt.target, Mode::kStore);
      case StmtKind::kOutput:
      case StmtKind::kWith:
        for (const ExprPtr& expr : stmt.exprs) visit(*expr);
        return;
      case StmtKind::kImport:
        visit(*stmt.value);
        for (const ExprPtr& name : stmt.params) symbols_->store(name->text);
        return;
      case StmtKind::kFor:
      case StmtKind::kCall:
      case StmtKind::kFilter:
        return visit(*stmt.value);
      default:
        return;
    }
  }

 private:
  void visit_if(const Stmt& stmt) {
    visit(*stmt.test);
    Symbols* outer = symbols_;
    Symbols body = outer->branch(), elifs = outer->branch(), other = outer->branch();
    symbols_ = &body;
    visit_body(stmt.body);
    symbols_ = &elifs;
    for (const StmtPtr& elif : stmt.elifs) visit(*elif);
    symbols_ = &other;
    visit_body(stmt.else_body);
    symbols_ = outer;
    outer->merge({&body, &elifs, &other});
  }

  Symbols* symbols_;
};

// Where the second pass stands.
struct Frame {
  Symbols* symbols;
  bool is_soft = false;  // inside an if: unknown filters fail only when they are reached
  bool is_top = false;
  bool in_loop = false;

  Frame soft() const {
    Frame frame = *this;
    frame.is_soft = true;
    return frame;
  }
  FunctionBuilder* function() const { return symbols->function(); }
};

class Resolver {
 public:
  explicit Resolver(Template& program) : program_(program) {}

  void run() {
    Symbols& symbols = new_symbols(0, nullptr, new_function(program_.function, nullptr));
    ScopeVisitor(symbols).visit_body(program_.body);
    Frame frame{&symbols};
    frame.is_top = true;
    program_.function.scope = symbols.scope(symbols.function(), false);
    compile_body(program_.body, frame);
  }

 private:
  FunctionBuilder* new_function(Function& function, FunctionBuilder* parent) {
    functions_.push_back({&function, parent, {}});
    return &functions_.back();
  }
  Symbols& new_symbols(int level, const Symbols* parent, FunctionBuilder* function) {
    symbols_.emplace_back(level, parent, function);
    return symbols_.back();
  }
  Symbols& inner(const Frame& frame, FunctionBuilder* function = nullptr) {
    return new_symbols(frame.symbols->level() + 1, frame.symbols,
                       function != nullptr ? function : frame.function());
  }

  void compile_body(Body& body, const Frame& frame) {
    for (StmtPtr& stmt : body) compile(*stmt, frame);
  }

  void compile(Stmt& stmt, const Frame& frame) {
    switch (stmt.kind) {
      case StmtKind::kOutput:
        for (ExprPtr& expr : stmt.exprs) compile(*expr, frame);
        return;
      case StmtKind::kFor:
        return compile_for(stmt, frame);
      case StmtKind::kIf:
        return compile_if(stmt, frame.soft());
      case StmtKind::kMacro:
        compile_macro(stmt, frame);
        stmt.ref = find(stmt.name, stmt.line, frame);
        stmt.sets_context = frame.is_top;
        return;
      case StmtKind::kCall:
        compile_macro(stmt, frame);
        return compile(*stmt.value, frame);
      case StmtKind::kGeneration:
        return compile_macro(stmt, frame);
      case StmtKind::kSet:
        stmt.sets_context = frame.is_top;
        compile(*stmt.value, frame);
        return compile_target(*stmt.target, frame);
      case StmtKind::kFilter:
      case StmtKind::kSetBlock:
      case StmtKind::kScope:
      case StmtKind::kWith:
        return compile_scope(stmt, frame);
      case StmtKind::kBlock:
        return compile_block(stmt);
      case StmtKind::kImport:
        return compile(*stmt.value, frame);
      case StmtKind::kBreak:
      case StmtKind::kContinue:
        if (!frame.in_loop) throw SyntaxError("break or continue outside of a loop", stmt.line);
        return;
    }
  }

  void compile_if(Stmt& stmt, const Frame& frame) {
    compile(*stmt.test, frame);
    compile_body(stmt.body, frame);
    for (StmtPtr& elif : stmt.elifs) compile_if(*elif, frame);
    compile_body(stmt.else_body, frame);
  }

  void compile_scope(Stmt& stmt, const Frame& frame) {
    Symbols& symbols = inner(frame);
    ScopeVisitor visitor(symbols);
    for (const ExprPtr& target : stmt.params) visitor.visit(*target, Mode::kParameter);
    visitor.visit_body(stmt.body);
    if (stmt.kind == StmtKind::kFilter) visitor.visit(*stmt.value);
    Frame inside{&symbols};
    inside.in_loop = frame.in_loop;
    stmt.scope = symbols.scope(symbols.function(), true);
    for (ExprPtr& expr : stmt.exprs) compile(*expr, frame);
    for (ExprPtr& target : stmt.params) compile_target(*target, inside);
    compile_body(stmt.body, inside);
    if (stmt.value) compile(*stmt.value, inside);
    if (stmt.kind == StmtKind::kSetBlock) {
      compile_target(*stmt.target, frame);
      stmt.sets_context = frame.is_top;
    }
  }

  void compile_for(Stmt& stmt, const Frame& frame) {
    if (assigns_name(stmt, "loop")) {
      throw SyntaxError("Can't assign to special loop variable in for-loop target", stmt.line);
    }
    FunctionBuilder* function = frame.function();
    if (stmt.recursive) {
      stmt.function = std::make_unique<Function>();
      function = new_function(*stmt.function, function);
    }
    Symbols& body_symbols = inner(frame, function);
    if (stmt.recursive || reads_name(stmt.body, "loop")) {
      stmt.ref = {0, body_symbols.declare_parameter("loop").slot};
    }
    ScopeVisitor body_visitor(body_symbols);
    body_visitor.visit(*stmt.target, Mode::kParameter);
    body_visitor.visit_body(stmt.body);
    Symbols& else_symbols = inner(frame, function);
    ScopeVisitor(else_symbols).visit_body(stmt.else_body);

    if (stmt.test) compile_loop_test(stmt, frame);
    Frame inside{&body_symbols};
    inside.in_loop = true;
    compile_target(*stmt.target, inside);
    compile(*stmt.value, frame);
    stmt.scope = body_symbols.scope(function, !stmt.recursive || !stmt.else_body.empty());
    compile_body(stmt.body, inside);
    Frame otherwise{&else_symbols};
    otherwise.in_loop = frame.in_loop && !stmt.recursive;
    stmt.else_scope = else_symbols.scope(function, true);
    compile_body(stmt.else_body, otherwise);
  }

  void compile_loop_test(Stmt& stmt, const Frame& frame) {
    stmt.test_function = std::make_unique<Function>();
    FunctionBuilder* function = new_function(*stmt.test_function, frame.function());
    Symbols& symbols = inner(frame, function);
    ScopeVisitor visitor(symbols);
    visitor.visit(*stmt.target, Mode::kParameter);
    visitor.visit(*stmt.test);
    stmt.test_function->scope = symbols.scope(function, false);
    compile_filter_target(*stmt.target, symbols);
    compile(*stmt.test, Frame{&symbols});
  }

  void compile_filter_target(Expr& target, const Symbols& symbols) {
    if (target.kind == ExprKind::kName) {
      target.filter_ref = reach(symbols.function(), *symbols.find(target.text));
    }
    for (ExprPtr& item : target.items) compile_filter_target(*item, symbols);
  }

  void compile_macro(Stmt& stmt, const Frame& frame) {
    stmt.function = std::make_unique<Function>();
    Function& function = *stmt.function;
    Symbols& symbols = inner(frame, new_function(function, frame.function()));
    auto analyze = [&] {
      ScopeVisitor visitor(symbols);
      for (const ExprPtr& param : stmt.params) visitor.visit(*param, Mode::kParameter);
      for (const ExprPtr& value : stmt.defaults) visitor.visit(*value);
      visitor.visit_body(stmt.body);
    };
    analyze();
    auto special = [&](const std::string& name) {
      return reads_name(stmt.body, name) ? symbols.declare_parameter(name).slot : -1;
    };
    size_t num_required = stmt.params.size() - stmt.defaults.size();
    bool has_kwargs = false, has_varargs = false;
    for (size_t i = 0; i < stmt.params.size(); ++i) {
      const std::string& name = stmt.params[i]->text;
      function.param_slots.push_back(symbols.find(name)->slot);
      has_kwargs |= name == "kwargs";
      has_varargs |= name == "varargs";
      if (name != "caller") continue;
      function.has_explicit_caller = true;
      if (i < num_required && reads_name(stmt.body, "caller")) {
        throw SyntaxError("the special \"caller\" argument must be omitted or have a default",
                          stmt.line);
      }
    }
    if (!function.has_explicit_caller) function.caller_slot = special("caller");
    if (!has_kwargs) function.kwargs_slot = special("kwargs");
    if (!has_varargs) function.varargs_slot = special("varargs");
    analyze();
    function.scope = symbols.scope(symbols.function(), false);
    Frame inside{&symbols};
    for (ExprPtr& value : stmt.defaults) compile(*value, inside);
    compile_body(stmt.body, inside);
  }

  void compile_block(Stmt& stmt) {
    program_.has_blocks = true;
    if (!block_names_.insert(stmt.name).second) {
      throw SyntaxError("block '" + stmt.name + "' defined twice", stmt.line);
    }
    stmt.function = std::make_unique<Function>();
    Symbols& symbols = new_symbols(0, nullptr, new_function(*stmt.function, nullptr));
    ScopeVisitor(symbols).visit_body(stmt.body);
    stmt.function->scope = symbols.scope(symbols.function(), false);
    compile_body(stmt.body, Frame{&symbols});
  }

  Ref find(const std::string& name, int line, const Frame& frame) {
    const Symbols::Place* place = frame.symbols->find(name);
    if (place == nullptr) throw SyntaxError("'" + name + "' cannot be used here", line);
    return reach(frame.function(), *place);
  }

  void compile_target(Expr& target, const Frame& frame) {
    if (target.kind == ExprKind::kName || target.kind == ExprKind::kNsRef) {
      target.ref = find(target.text, target.line, frame);
    }
    for (ExprPtr& item : target.items) compile_target(*item, frame);
  }

  void compile(Expr& expr, const Frame& frame) {
    Frame here = expr.kind == ExprKind::kCond ? frame.soft() : frame;
    if (expr.kind == ExprKind::kName) expr.ref = find(expr.text, expr.line, here);
    if (expr.kind == ExprKind::kConst) {
      expr.constant_index = static_cast<int>(program_.constants.size());
      program_.constants.push_back(std::move(expr.constant));
    }
    if (expr.kind == ExprKind::kFilter || expr.kind == ExprKind::kTest) bind(expr, here);
    for (ExprPtr& item : expr.items) {
      if (item) compile(*item, here);
    }
    for (auto& [name, value] : expr.keywords) compile(*value, here);
    if (expr.dynamic_args) compile(*expr.dynamic_args, here);
    if (expr.dynamic_keywords) compile(*expr.dynamic_keywords, here);
  }

  void bind(Expr& expr, const Frame& frame) {
    bool is_filter = expr.kind == ExprKind::kFilter;
    if (is_filter) expr.filter = find_filter(expr.text);
    if (!is_filter) expr.test = find_test(expr.text);
    if (expr.filter == nullptr && expr.test == nullptr && !frame.is_soft) {
      throw SyntaxError(
          std::string("No ") + (is_filter ? "filter" : "test") + " named '" + expr.text + "'",
          expr.line);
    }
  }

  Template& program_;
  std::deque<FunctionBuilder> functions_;
  std::deque<Symbols> symbols_;
  std::set<std::string> block_names_;
};

}  // namespace

void resolve(Template& program) { Resolver(program).run(); }

}  // namespace sluice::text::jinja
