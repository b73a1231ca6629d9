#include "api/chat_context.h"
#include "api/ollama.h"
#include "api/options.h"
#include "api/parse_common.h"
#include "base/error.h"
#include "base/print.h"

namespace sluice::api::ollama {
namespace {

[[noreturn]] void refuse(const std::string& reason) {
  throw Error(ErrorCode::kInvalidArgument, reason);
}

std::vector<std::string> licenses_of(const Json& body) {
  const Json* value = find_field(body, "license");
  if (value == nullptr) return {};
  if (value->is_string()) return {value->get<std::string>()};
  std::vector<std::string> licenses;
  if (!value->is_array()) refuse("field \"license\" must be a string or a list of strings");
  for (const Json& license : *value) {
    if (!license.is_string()) refuse("field \"license\" must be a string or a list of strings");
    licenses.push_back(license.get<std::string>());
  }
  return licenses;
}

std::string parameters_of(const Json& body) {
  const Json* parameters = object_field(body, "parameters");
  if (parameters == nullptr || parameters->empty()) return "";
  const ModelOptions options = parse_options(*parameters);
  if (!options.unknown.empty()) {
    refuse("unknown parameter '" + printable(options.unknown.front().substr(0, 60)) + "'");
  }
  return dump_json(*parameters);
}

// Only what every conversation can begin with: a role and a text.
std::string messages_of(const Json& body) {
  const Json* messages = array_field(body, "messages");
  if (messages == nullptr || messages->empty()) return "";
  Json plain = Json::array();
  for (const Json& message : *messages) {
    if (!message.is_object()) refuse("field \"messages\" must be a list of objects");
    const std::string role = string_field(message, "role").value_or("");
    if (role != "system" && role != "user" && role != "assistant") {
      refuse("message role must be one of \"system\", \"user\", or \"assistant\"");
    }
    plain.push_back({{"role", role}, {"content", string_field(message, "content").value_or("")}});
  }
  return dump_json(plain) + "\n";
}

// Names of files are told apart by them, nothing more; all the same none may lead elsewhere.
void check_file_name(const std::string& name) {
  const bool is_bad = name.empty() || name.size() > 255 || name.starts_with('/') ||
                      name.find('\\') != std::string::npos || name.starts_with("../") ||
                      name.find("/../") != std::string::npos || name.ends_with("/..") ||
                      name == "..";
  if (is_bad) refuse("file path must be relative");
}

std::vector<std::pair<std::string, std::string>> files_of(const Json& body) {
  constexpr size_t kMostFiles = 10'000;
  std::vector<std::pair<std::string, std::string>> files;
  const Json* object = object_field(body, "files");
  if (object == nullptr) return files;
  if (object->size() > kMostFiles) refuse("more than 10000 files");
  for (const auto& [name, digest] : object->items()) {
    check_file_name(name);
    if (!digest.is_string()) refuse("invalid digest format");
    files.emplace_back(name, digest.get<std::string>());
  }
  return files;
}

}  // namespace

CreateRequest parse_create(std::string_view body_text, Work& work) {
  const JsonTree body = parse_body(body_text, work);
  CreateRequest request;
  request.model = model_field(body);
  request.from = string_field(body, "from").value_or("");
  request.files = files_of(body);
  for (const char* unsupported : {"adapters", "draft_files", "remote_host"}) {
    const Json* value = find_field(body, unsupported);
    if (value != nullptr && !value->empty()) {
      throw Error(ErrorCode::kUnsupported, std::string(unsupported) + " are not supported");
    }
  }
  request.chat_template = string_field(body, "template").value_or("");
  request.system = string_field(body, "system").value_or("");
  request.licenses = licenses_of(body);
  request.parameters_json = parameters_of(body);
  request.messages_json = messages_of(body);
  request.quantize = string_field(body, "quantize").value_or("");
  if (request.quantize.empty()) {
    request.quantize = string_field(body, "quantization").value_or("");
  }
  request.renderer = string_field(body, "renderer").value_or("");
  request.parser = string_field(body, "parser").value_or("");
  request.minimum_version = string_field(body, "requires").value_or("");
  request.stream = bool_field(body, "stream").value_or(true);
  if (request.model.empty()) refuse("invalid model name");
  if (request.from.empty() && request.files.empty()) {
    refuse("neither 'from' or 'files' was specified");
  }
  return request;
}

}  // namespace sluice::api::ollama
