#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"

namespace sluice::text::jinja {

// Hands out the slots of one Function.
struct FunctionBuilder {
  Function* function;
  FunctionBuilder* parent;
  std::map<std::pair<int, std::string>, int> slots;  // by level and name

  int slot_of(int level, const std::string& name);
};

// The variables of one scope, found before the scope is compiled: jinja2's rules (idtracking.py)
// for which names a scope owns, and what each owned name starts with.
class Symbols {
 public:
  struct Place {
    FunctionBuilder* owner = nullptr;
    int slot = -1;
  };
  enum class Start { kParameter, kResolve, kAlias, kUndefined };

  // `base` makes this a branch of an if: it shares the scope of `base` until it is merged.
  Symbols(int level, const Symbols* parent, FunctionBuilder* function,
          const Symbols* base = nullptr)
      : level_(level), parent_(parent), base_(base), function_(function) {}

  const Place* find(const std::string& name) const;
  void store(const std::string& name);
  void load(const std::string& name);
  Place declare_parameter(const std::string& name);
  void merge(const std::vector<const Symbols*>& branches);

  Symbols branch() const { return {level_, parent_, function_, this}; }
  int level() const { return level_; }
  FunctionBuilder* function() const { return function_; }
  // The code that begins and ends the scope; `function` runs it.
  Scope scope(const FunctionBuilder* function, bool with_leave) const;

 private:
  struct Entry {
    int slot;
    Start start;
    std::string name;
    Place outer;
  };
  const Place* find_here(const std::string& name) const;
  const Place* find_outside(const std::string& name) const;
  void define(const std::string& name, Start start, const Place& outer);
  void set_start(Entry entry);

  int level_;
  const Symbols* parent_;
  const Symbols* base_;
  FunctionBuilder* function_;
  std::map<std::string, Place> places_;
  std::vector<Entry> entries_;
  std::map<int, size_t> entry_of_slot_;
  std::set<std::string> stores_;
};

// How `from` reaches the place: functions outwards and the slot.
Ref reach(const FunctionBuilder* from, const Symbols::Place& place);

}  // namespace sluice::text::jinja
