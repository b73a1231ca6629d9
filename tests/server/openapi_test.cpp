#include "server/openapi.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "api/json.h"
#include "server/routes.h"
#include "server/version.h"

namespace sluice::server {
namespace {

// "get /v1/models/*": a route, or an operation of the document.
std::string key_of(std::string_view method, std::string_view path) {
  std::string key;
  for (const char c : method) key += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  key += ' ';
  key += path.substr(0, path.find('{'));
  if (path.find('{') != std::string_view::npos) key += '*';
  return key;
}

// Every reference is to something that is there.
void check_references(const api::Json& document, const api::Json& value) {
  if (value.is_object()) {
    if (const auto found = value.find("$ref"); found != value.end()) {
      const std::string reference = found->get<std::string>();
      ASSERT_TRUE(reference.starts_with("#/")) << reference;
      EXPECT_TRUE(document.contains(api::Json::json_pointer(reference.substr(1)))) << reference;
    }
  }
  if (value.is_structured()) {
    for (const api::Json& member : value) check_references(document, member);
  }
}

std::map<std::string, api::Json> operations_of(const api::Json& document) {
  std::map<std::string, api::Json> all;
  for (const auto& [path, operations] : document["paths"].get_ref<const api::Json::object_t&>()) {
    for (const auto& [method, operation] : operations.get_ref<const api::Json::object_t&>()) {
      EXPECT_TRUE(all.emplace(key_of(method, path), operation).second) << method << " " << path;
    }
  }
  return all;
}

keys::Scopes scopes_of(const api::Json& operation) {
  std::string scopes;
  for (const api::Json& scope : operation.value("x-scopes", api::Json::array())) {
    scopes += (scopes.empty() ? "" : ",") + scope.get<std::string>();
  }
  return scopes.empty() ? keys::Scopes() : keys::Scopes::parse(scopes);
}

TEST(OpenApi, IsOfThisVersionAndRefersToWhatIsThere) {
  const api::JsonTree document = api::parse_json(openapi_json());
  EXPECT_EQ((*document)["info"]["version"], std::string(kVersion));
  check_references(*document, *document);
}

TEST(OpenApi, DescribesEveryRouteAndNothingElse) {
  const api::JsonTree document = api::parse_json(openapi_json());
  std::map<std::string, api::Json> operations = operations_of(*document);
  for (const RouteInfo& route : all_routes()) {
    const std::string key = key_of(route.method, route.path);
    const auto node = operations.extract(key);
    ASSERT_FALSE(node.empty()) << key << " is not in openapi.json";
    const api::Json& operation = node.mapped();
    EXPECT_TRUE(operation.contains("summary") && operation.contains("responses")) << key;
    const bool is_open = operation.contains("security") && operation["security"].empty();
    EXPECT_EQ(is_open, route.access.is_for_everybody()) << key;
    EXPECT_TRUE(is_open || scopes_of(operation) == route.access.scopes()) << key;
  }
  for (const auto& [key, operation] : operations) ADD_FAILURE() << key << " is no route";
}

}  // namespace
}  // namespace sluice::server
