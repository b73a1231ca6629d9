#include "api/tools.h"

#include <algorithm>
#include <random>
#include <utility>

#include "api/error.h"

namespace sluice::api {
namespace {

// The name that a choice gives, in either place.
std::string chosen_name(const Json& choice) {
  const Json* function = object_field(choice, "function");
  const auto name = string_field(function != nullptr ? *function : choice, "name");
  if (!name || name->empty()) fail("tool_choice needs the name of a function");
  return *name;
}

const Json* find_tool(const Json& tools, std::string_view name) {
  const auto found =
      std::ranges::find_if(tools, [&](const Json& tool) { return tool_name(tool) == name; });
  return found == tools.end() ? nullptr : &*found;
}

ToolChoice allow_tools(const Json& allowed, Json& tools) {
  const Json* list = array_field(allowed, "tools");
  if (list == nullptr) fail("tool_choice \"allowed_tools\" needs a list of tools");
  Json kept = Json::array();
  for (const Json& item : *list) {
    if (!item.is_object()) fail("tool_choice: every allowed tool must be an object");
    const std::string name = chosen_name(item);
    const Json* tool = find_tool(tools, name);
    if (tool == nullptr) fail("tool_choice names a tool that is not in \"tools\"");
    kept.push_back(*tool);
  }
  tools = std::move(kept);
  const std::string mode = string_field(allowed, "mode").value_or("auto");
  if (mode == "required") return {ToolChoice::Kind::kRequired, {}};
  if (mode != "auto") fail("tool_choice: the mode must be \"auto\" or \"required\"");
  return {};
}

}  // namespace

Json parse_tools(Json& list) {
  for (const Json& tool : list) {
    if (!tool.is_object()) fail("field \"tools\" must be a list of objects");
    const Json* function = object_field(tool, "function");
    if (function == nullptr || string_field(*function, "name").value_or("").empty()) {
      fail("every tool needs a \"function\" with a \"name\"");
    }
    string_field(tool, "type");  // these throw for what is of another type
    string_field(*function, "description");
    object_field(*function, "parameters");
  }
  return std::move(list);
}

ToolChoice parse_tool_choice(const Json& value, Json& tools) {
  using Kind = ToolChoice::Kind;
  if (value == "auto") return {};
  if (value == "none") return {Kind::kNone, {}};
  if (value == "required" || value == "any") return {Kind::kRequired, {}};
  if (!value.is_object()) {
    fail("tool_choice must be \"auto\", \"none\", \"required\" or a function");
  }
  const std::string type = string_field(value, "type").value_or("");
  if (type == "function") return {Kind::kNamed, chosen_name(value)};
  if (type == "allowed_tools") {
    const Json* nested = object_field(value, "allowed_tools");
    return allow_tools(nested != nullptr ? *nested : value, tools);
  }
  fail("tool_choice of this type is not supported: give a function");
}

void apply_tool_choice(GenerationRequest& request) {
  const ToolChoice& choice = request.tool_choice;
  if (choice.kind == ToolChoice::Kind::kNone) request.tools = Json(Json::array());
  if (!choice.must_call()) return;
  if (request.tools->empty()) fail("tool_choice asks for a call, but there are no tools");
  const bool is_named = choice.kind == ToolChoice::Kind::kNamed;
  if (is_named && find_tool(request.tools, choice.name) == nullptr) {
    fail("tool_choice names a tool that is not in \"tools\"");
  }
  if (request.format.kind != FormatKind::kText) {
    fail("a reply that must call a tool can have no format of its own; leave one of them out");
  }
}

std::string_view tool_name(const Json& tool) {
  const Json* function = find_field(tool, "function");
  const Json* name = function != nullptr ? find_field(*function, "name") : nullptr;
  if (name == nullptr || !name->is_string()) return {};
  return name->get_ref<const std::string&>();
}

std::vector<text::KnownTool> known_tools(const Json& tools) {
  std::vector<text::KnownTool> known;
  for (const Json& tool : tools) {
    text::KnownTool& item = known.emplace_back();
    item.name = tool_name(tool);
    const Json* schema = tool_parameters(tool);
    const Json* properties = schema != nullptr ? find_field(*schema, "properties") : nullptr;
    if (properties == nullptr || !properties->is_object()) continue;
    for (const auto& [name, property] : properties->get_ref<const Json::object_t&>()) {
      const Json* type = find_field(property, "type");
      item.parameters.emplace_back(name, type != nullptr && *type == "string");
    }
  }
  return known;
}

std::string fresh_call_id(size_t size) {
  constexpr std::string_view kCharacters = "0123456789abcdefghijklmnopqrstuvwxyz";
  thread_local std::random_device random;
  std::string id = size == 0 ? "call_" : "";
  for (size_t i = 0, count = size == 0 ? 8 : size; i < count; ++i) {
    id += kCharacters[random() % kCharacters.size()];
  }
  return id;
}

const Json* tool_parameters(const Json& tool) {
  const Json* function = find_field(tool, "function");
  return function != nullptr ? find_field(*function, "parameters") : nullptr;
}

}  // namespace sluice::api
