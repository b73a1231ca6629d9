#include "grammar/schema_document.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/hex_digit.h"

namespace sluice::grammar {
namespace {

constexpr size_t kMaxSchemaBytes = 1u << 20;
constexpr int kMaxSchemaDepth = 100;
constexpr size_t kMaxSchemaMembers = 4096;  // of one object: finding one takes time
constexpr size_t kMaxParts = 256;
constexpr size_t kMaxReferenceChain = 200;  // of references and allOf

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "invalid JSON Schema: " + what);
}

Json parse(std::string_view text, Work& work) {
  if (text.size() > kMaxSchemaBytes)
    fail("it is longer than " + std::to_string(kMaxSchemaBytes) + " bytes");
  work.charge(text.size());
  std::vector<size_t> num_keys(kMaxSchemaDepth + 2);
  const auto check = [&](int depth, Json::parse_event_t event, Json&) {
    if (depth > kMaxSchemaDepth)
      fail("it is nested deeper than " + std::to_string(kMaxSchemaDepth));
    const auto level = static_cast<size_t>(depth);
    if (event == Json::parse_event_t::object_start) num_keys[level + 1] = 0;
    if (event == Json::parse_event_t::key) {
      work.charge(num_keys[level]);
      if (++num_keys[level] > kMaxSchemaMembers) fail("an object has too many members");
    }
    return true;
  };
  try {
    return Json::parse(text, check);
  } catch (const Json::exception& e) {
    fail("it is not JSON (" + std::string(e.what()) + ")");
  }
}

// "%25" and then "~0", "~1".
std::string unescaped(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_percent = text[i] == '%' && i + 2 < text.size() + 0 &&
                            hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0;
    if (is_percent) {
      plain += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      plain += text[i];
    }
  }
  std::string result;
  for (size_t i = 0; i < plain.size(); ++i) {
    if (plain[i] == '~' && i + 1 < plain.size() && (plain[i + 1] == '0' || plain[i + 1] == '1')) {
      result += plain[++i] == '0' ? '~' : '/';
    } else {
      result += plain[i];
    }
  }
  return result;
}

bool has_base(const Json& schema) {
  const Json* id = schema.is_object() ? find(schema, "$id") : nullptr;
  return id != nullptr && id->is_string() && !id->get_ref<const std::string&>().starts_with('#');
}

}  // namespace

const Json* find(const Json& object, const std::string& name) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(name);
  return at == object.end() ? nullptr : &*at;
}

void refuse_keyword(const std::string& keyword, const std::string& why) {
  throw Error(ErrorCode::kUnsupported, "JSON Schema: keyword \"" + keyword + "\" is not supported" +
                                           (why.empty() ? "; leave it out" : " " + why));
}

void fail_keyword(const std::string& keyword, const std::string& expected) {
  fail("\"" + keyword + "\" must be " + expected);
}

SchemaDocument::SchemaDocument(std::string_view text, Work& work)
    : root_(parse(text, work)), work_(&work) {
  if (!root_.is_object() && !root_.is_boolean()) fail("it must be an object");
}

const Json* SchemaDocument::find_anchor(const Json& value, const std::string& name) const {
  work_->charge(64);
  if (value.is_object()) {
    for (const char* keyword : {"$anchor", "$id"}) {
      const Json* anchor = find(value, keyword);
      if (anchor == nullptr || !anchor->is_string()) continue;
      const auto& text = anchor->get_ref<const std::string&>();
      if (text == name || (text.starts_with('#') && text.substr(1) == name)) return &value;
    }
    if (has_base(value) && &value != &root_) return nullptr;
  }
  if (value.is_array()) {
    for (const Json& inner : value) {
      if (const Json* found = find_anchor(inner, name)) return found;
    }
  }
  if (!value.is_object()) return nullptr;
  for (const auto& [key, inner] : value.items()) {
    // Values, not schemas.
    if (key == "enum" || key == "const" || key == "default" || key == "examples") continue;
    if (const Json* found = find_anchor(inner, name)) return found;
  }
  return nullptr;
}

const Json& SchemaDocument::resolve(const std::string& reference) const {
  std::string_view rest = reference;
  const Json* id = find(root_, "$id");
  if (id != nullptr && id->is_string()) {
    std::string_view base = id->get_ref<const std::string&>();
    base = base.substr(0, base.find('#'));
    if (!base.empty() && rest.starts_with(base) &&
        (rest.size() == base.size() || rest[base.size()] == '#')) {
      rest.remove_prefix(base.size());
    }
  }
  if (rest.empty() || rest == "#") return root_;
  if (!rest.starts_with('#')) {
    refuse_keyword("$ref", "to another document (\"" + reference + "\")");
  }
  rest.remove_prefix(1);
  if (!rest.starts_with('/')) {
    const Json* found = find_anchor(root_, unescaped(rest));
    if (found == nullptr) fail("\"$ref\" names \"" + reference + "\", which is not there");
    return *found;
  }
  const Json* at = &root_;
  while (!rest.empty()) {
    rest.remove_prefix(1);
    const size_t end = std::min(rest.find('/'), rest.size());
    const std::string name = unescaped(rest.substr(0, end));
    rest.remove_prefix(end);
    if (at != &root_ && has_base(*at)) refuse_keyword("$id", "within a schema");
    const Json* next = nullptr;
    if (at->is_object()) {
      next = find(*at, name);
    } else if (at->is_array() && !name.empty() && name.size() < 6 &&
               name.find_first_not_of("0123456789") == std::string::npos) {
      const size_t index = std::stoul(name);
      if (index < at->size()) next = &(*at)[index];
    }
    if (next == nullptr) fail("\"$ref\" names \"" + reference + "\", which is not there");
    at = next;
  }
  return *at;
}

void SchemaDocument::expand(const Json& schema, Conjunction& conjunction) {
  std::vector<const Json*> open;
  expand(schema, conjunction, open);
}

void SchemaDocument::expand(const Json& schema, Conjunction& conjunction,
                            std::vector<const Json*>& open) {
  work_->charge(64 + conjunction.parts.size() * 8);
  if (schema.is_boolean()) {
    if (!schema.get<bool>()) conjunction.parts.push_back({&schema});
    return;
  }
  if (!schema.is_object()) fail("a schema must be an object, true or false");
  if (std::find(open.begin(), open.end(), &schema) != open.end()) {
    refuse_keyword("$ref", "where it leads back to itself");
  }
  const auto known = std::find_if(conjunction.parts.begin(), conjunction.parts.end(),
                                  [&](const SchemaPart& part) { return part.schema == &schema; });
  if (known != conjunction.parts.end()) {
    // An alternative of a schema that is that schema again.
    if (known->has_any_of || known->has_one_of) {
      refuse_keyword("$ref", "where it leads back to itself");
    }
    return;
  }
  if (conjunction.parts.size() >= kMaxParts || open.size() >= kMaxReferenceChain) {
    throw Error(ErrorCode::kUnsupported, "JSON Schema: too many schemas hold for one value");
  }
  if (&schema != &root_ && has_base(schema)) refuse_keyword("$id", "within a schema");
  conjunction.parts.push_back({&schema});
  open.push_back(&schema);
  if (const Json* reference = find(schema, "$ref")) {
    if (!reference->is_string()) fail_keyword("$ref", "a string");
    expand(resolve(reference->get<std::string>()), conjunction, open);
  }
  if (const Json* all = find(schema, "allOf")) {
    if (!all->is_array()) fail_keyword("allOf", "a list of schemas");
    for (const Json& one : *all) expand(one, conjunction, open);
  }
  open.pop_back();
}

}  // namespace sluice::grammar
