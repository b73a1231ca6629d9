#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/work.h"

namespace sluice::grammar {

using Json = nlohmann::ordered_json;

// One schema of a document that a value has to satisfy; of its anyOf and oneOf, whether one
// alternative has been chosen already.
struct SchemaPart {
  const Json* schema = nullptr;
  bool has_any_of = false;  // chosen
  bool has_one_of = false;
  auto operator<=>(const SchemaPart&) const = default;
};

// All schemas that a value has to satisfy, in the order of the text.
struct Conjunction {
  std::vector<SchemaPart> parts;
  // parts[0] is a schema of the text and all others came from within it: what is evaluated there is
  // known ("unevaluatedProperties").
  bool has_one_source = true;
  auto operator<=>(const Conjunction&) const = default;
};

// The text of a schema, and what its references name. Error messages name the keyword.
class SchemaDocument {
 public:
  // Throws Error(kInvalidArgument) for what is no schema, too long or nested too deeply.
  SchemaDocument(std::string_view text, Work& work);

  const Json& root() const { return root_; }
  // Adds a schema, what its $ref names and its allOf. Throws Error: kUnsupported for references to
  // other documents and for those that lead in a circle, kInvalidArgument for what is wrong.
  void expand(const Json& schema, Conjunction& conjunction);
  Work& work() const { return *work_; }

 private:
  void expand(const Json& schema, Conjunction& conjunction, std::vector<const Json*>& open);
  const Json& resolve(const std::string& reference) const;
  const Json* find_anchor(const Json& value, const std::string& name) const;

  Json root_;
  Work* work_;
};

// Member of an object, or null.
const Json* find(const Json& object, const std::string& name);
[[noreturn]] void refuse_keyword(const std::string& keyword, const std::string& why = "");
[[noreturn]] void fail_keyword(const std::string& keyword, const std::string& expected);

}  // namespace sluice::grammar
