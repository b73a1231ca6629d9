#include "text/jinja/symbols.h"

namespace sluice::text::jinja {

int FunctionBuilder::slot_of(int level, const std::string& name) {
  auto [entry, is_new] = slots.try_emplace({level, name}, function->num_slots);
  if (is_new) ++function->num_slots;
  return entry->second;
}

Ref reach(const FunctionBuilder* from, const Symbols::Place& place) {
  Ref ref{0, place.slot};
  for (; from != place.owner && from != nullptr; from = from->parent) ++ref.hops;
  return ref;
}

const Symbols::Place* Symbols::find_here(const std::string& name) const {
  for (const Symbols* layer = this; layer != nullptr; layer = layer->base_) {
    auto found = layer->places_.find(name);
    if (found != layer->places_.end()) return &found->second;
  }
  return nullptr;
}

const Symbols::Place* Symbols::find_outside(const std::string& name) const {
  return parent_ == nullptr ? nullptr : parent_->find(name);
}

const Symbols::Place* Symbols::find(const std::string& name) const {
  for (const Symbols* scope = this; scope != nullptr; scope = scope->parent_) {
    if (const Place* place = scope->find_here(name)) return place;
  }
  return nullptr;
}

void Symbols::set_start(Entry entry) {
  auto [known, is_new] = entry_of_slot_.try_emplace(entry.slot, entries_.size());
  if (is_new) {
    entries_.push_back(std::move(entry));
  } else {
    entries_[known->second] = std::move(entry);
  }
}

void Symbols::define(const std::string& name, Start start, const Place& outer) {
  int slot = function_->slot_of(level_, name);
  places_[name] = {function_, slot};
  set_start({slot, start, name, outer});
}

void Symbols::store(const std::string& name) {
  stores_.insert(name);
  if (find_here(name) != nullptr) return;
  if (const Place* outer = find_outside(name)) {
    define(name, Start::kAlias, *outer);
  } else {
    define(name, Start::kUndefined, {});
  }
}

void Symbols::load(const std::string& name) {
  if (find(name) == nullptr) define(name, Start::kResolve, {});
}

Symbols::Place Symbols::declare_parameter(const std::string& name) {
  stores_.insert(name);
  define(name, Start::kParameter, {});
  return places_[name];
}

void Symbols::merge(const std::vector<const Symbols*>& branches) {
  auto stored_here = [&](const std::string& name) {
    for (const Symbols* layer = this; layer != nullptr; layer = layer->base_) {
      if (layer->stores_.count(name) != 0) return true;
    }
    return false;
  };
  std::set<std::string> stores;
  for (const Symbols* branch : branches) {
    for (const std::string& name : branch->stores_) {
      if (!stored_here(name)) stores.insert(name);
    }
  }
  for (const Symbols* branch : branches) {
    for (const auto& [name, place] : branch->places_) places_[name] = place;
    for (const Entry& entry : branch->entries_) set_start(entry);
    stores_.insert(branch->stores_.begin(), branch->stores_.end());
  }
  // A name that only some branch sets keeps its outer value when that branch is not taken.
  for (const std::string& name : stores) {
    const Place* target = find(name);
    const Place* outer = find_outside(name);
    set_start({target->slot, outer != nullptr ? Start::kAlias : Start::kResolve, name,
               outer != nullptr ? *outer : Place{}});
  }
}

Scope Symbols::scope(const FunctionBuilder* function, bool with_leave) const {
  Scope scope;
  for (const Entry& entry : entries_) {
    if (with_leave) scope.leave.push_back(entry.slot);
    if (entry.start == Start::kParameter) continue;
    Load load;
    load.slot = entry.slot;
    if (entry.start == Start::kResolve) {
      load.kind = Load::Kind::kResolve;
      load.name = entry.name;
    } else if (entry.start == Start::kAlias) {
      load.kind = Load::Kind::kAlias;
      load.from = reach(function, entry.outer);
    }
    scope.enter.push_back(std::move(load));
  }
  return scope;
}

}  // namespace sluice::text::jinja
