#include <algorithm>
#include <memory>
#include <optional>

#include "text/jinja/attribute_path.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"

// map, select, reject, selectattr and rejectattr: generators that work item by item. The lookup of
// all filters is here too.
namespace sluice::text::jinja {

namespace {

using Args = const CallArgs&;

// Common part: the source, opened when the first item is asked for.
class LazyIterator : public IteratorObject {
 public:
  LazyIterator(Interpreter& interpreter, const Val& source, CallArgs args)
      : IteratorObject(interpreter.heap()),
        interpreter_(interpreter),
        source_(source),
        args_(std::move(args)) {
    contain(source_.depth());
    for (const Val& value : args_.positional) contain(value.depth());
    for (const auto& [name, value] : args_.keywords) contain(value.depth());
  }

  bool next(Val& out) final {
    if (!started_) {
      started_ = true;
      // Nothing is checked for an empty source.
      is_empty_ = !is_true(source_);
      if (!is_empty_) {
        prepare();
        source_ = iterate(heap(), source_);
      }
    }
    return !is_empty_ && step(source_.as<IteratorObject>(), out);
  }

 protected:
  virtual void prepare() = 0;
  virtual bool step(IteratorObject& source, Val& out) = 0;

  // The first positional argument, taken away.
  Val take_first() {
    Val value = args_.positional[0];
    args_.positional.erase(args_.positional.begin());
    return value;
  }

  Interpreter& interpreter_;
  Val source_;
  CallArgs args_;

 private:
  bool started_ = false, is_empty_ = false;
};

class MapIterator : public LazyIterator {
 public:
  using LazyIterator::LazyIterator;

 private:
  void prepare() override {
    auto find = [&](std::string_view name) {
      return std::find_if(args_.keywords.begin(), args_.keywords.end(),
                          [&](const auto& keyword) { return keyword.first == name; });
    };
    auto attribute = find("attribute");
    if (args_.positional.empty() && attribute != args_.keywords.end()) {
      auto otherwise = find("default");
      bool has_default = otherwise != args_.keywords.end();
      if (args_.keywords.size() > (has_default ? 2u : 1u)) {
        throw TemplateError("map() got an unexpected keyword argument");
      }
      path_.emplace(heap(), attribute->second, false, has_default ? otherwise->second : Val());
      return;
    }
    if (args_.positional.empty()) throw TemplateError("map requires a filter argument");
    filter_ = take_first();
  }

  bool step(IteratorObject& source, Val& out) override {
    Val item;
    if (!source.next(item)) return false;
    out = path_ ? path_->get(item) : interpreter_.call_filter(filter_, item, args_);
    return true;
  }

  std::optional<AttributePath> path_;
  Val filter_;
};

class SelectIterator : public LazyIterator {
 public:
  SelectIterator(Interpreter& interpreter, const Val& source, const CallArgs& args,
                 bool by_attribute, bool wanted)
      : LazyIterator(interpreter, source, args), by_attribute_(by_attribute), wanted_(wanted) {}

 private:
  void prepare() override {
    if (by_attribute_) {
      if (args_.positional.empty()) throw TemplateError("Missing parameter for attribute name");
      path_.emplace(heap(), take_first(), false);
    }
    has_test_ = !args_.positional.empty();
    if (has_test_) test_ = take_first();
  }

  bool step(IteratorObject& source, Val& out) override {
    while (source.next(out)) {
      Val value = path_ ? path_->get(out) : out;
      bool passes = has_test_ ? interpreter_.call_test(test_, value, args_) : is_true(value);
      if (passes == wanted_) return true;
    }
    return false;
  }

  const bool by_attribute_, wanted_;
  bool has_test_ = false;
  std::optional<AttributePath> path_;
  Val test_;
};

Val map(Interpreter& interpreter, const Val& value, Args args) {
  return Val(new MapIterator(interpreter, value, args));
}

template <bool by_attribute, bool wanted>
Val select(Interpreter& interpreter, const Val& value, Args args) {
  return Val(new SelectIterator(interpreter, value, args, by_attribute, wanted));
}

}  // namespace

const FilterTable& selection_filters() {
  static const FilterTable table = {
      {"map", map},
      {"select", select<false, true>},
      {"reject", select<false, false>},
      {"selectattr", select<true, true>},
      {"rejectattr", select<true, false>},
  };
  return table;
}

const FilterEntry* find_filter(std::string_view name) {
  for (const FilterTable* table : {&text_filters(), &value_filters(), &sequence_filters(),
                                   &selection_filters(), &layout_filters()}) {
    auto found = std::find_if(table->begin(), table->end(),
                              [&](const FilterEntry& entry) { return entry.name == name; });
    if (found != table->end()) return &*found;
  }
  return nullptr;
}

}  // namespace sluice::text::jinja
