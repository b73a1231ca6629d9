#pragma once

#include <string>

#include "text/jinja/ast.h"
#include "text/jinja/builtins.h"
#include "text/jinja/object.h"

// Objects that belong to a running template.
namespace sluice::text::jinja {

// The variables of one call of a Function.
class FrameObject : public Object {
 public:
  FrameObject(Heap& heap, const Function& function, FrameObject* parent);
  void clear() override;
  Vals slots;
  FrameObject* parent() const {
    return parent_.is(Type::kFrame) ? &parent_.as<FrameObject>() : nullptr;
  }

 private:
  Val parent_;
};

class MethodObject : public Object {
 public:
  MethodObject(Heap& heap, Val self, const MethodEntry& entry)
      : Object(heap, Type::kMethod, false), self(std::move(self)), entry(entry) {
    contain(this->self.depth());
  }
  const Val self;
  const MethodEntry& entry;
};

class FunctionObject : public Object {
 public:
  FunctionObject(Heap& heap, const FunctionEntry& entry)
      : Object(heap, Type::kFunction, false), entry(entry) {}
  const FunctionEntry& entry;
};

// A macro, or the caller() of a call block (without a name).
class MacroObject : public Object {
 public:
  MacroObject(Heap& heap, const Stmt& stmt, FrameObject& frame)
      : Object(heap, Type::kMacro, true), stmt(stmt), frame_(&frame) {}
  void clear() override { frame_ = Val(); }
  const std::string& name() const { return stmt.name; }
  FrameObject& frame() const { return frame_.as<FrameObject>(); }
  const Stmt& stmt;

 private:
  Val frame_;
};

// The `loop` of a for statement, and its position.
class LoopObject : public Object {
 public:
  LoopObject(Heap& heap, Val iterable, Val iterator, int depth0);
  void clear() override;
  // Moves to the next item; false at the end.
  bool advance(Val& item);
  // Number of items; reads all of an iterator to find out.
  int64_t length();
  bool peek(Val& item);

  int64_t index0 = -1;
  const int depth0;
  Val previous, current;
  Val last_changed;  // missing before loop.changed() was first called
  // For recursive loops: the statement and the frame it stands in.
  const Stmt* recursive = nullptr;
  Val frame;

 private:
  Val iterable_, iterator_;
  Val after_;  // the item peeked at, or missing
  int64_t length_ = -1;
};

}  // namespace sluice::text::jinja
