#include "api/openai_parts.h"

#include "api/error.h"
#include "api/parse_common.h"

namespace sluice::api::openai {

std::string image_data(const Json& part) {
  const Json* image = find_field(part, "image_url");
  std::string url;
  if (image != nullptr && image->is_string()) url = image->get<std::string>();
  if (image != nullptr && image->is_object()) url = string_field(*image, "url").value_or("");
  constexpr const char* kPrefixes[] = {
      "data:image/jpeg;base64,", "data:image/jpg;base64,", "data:image/png;base64,",
      "data:image/webp;base64,", "data:;base64,",
  };
  for (const std::string_view prefix : kPrefixes) {
    if (!url.starts_with(prefix)) continue;
    std::string data = url.substr(prefix.size());
    check_base64(data, "image_url");
    return data;
  }
  fail("invalid image input: give a data: URL with base64 (jpeg, png or webp)");
}

JsonTree parse_arguments(const Json& call, Work& work) {
  const std::string text = string_field(call, "arguments").value_or("{}");
  try {
    JsonTree arguments = text.empty() ? JsonTree(Json::object()) : parse_json(text, work);
    if (arguments->is_object()) return arguments;
  } catch (const Error&) {
    work.check();  // what is left is said below, as for what is no object
  }
  fail("invalid tool call arguments");
}

Think think_of_effort(const std::string& effort) {
  if (effort == "none") return Think{false, ""};
  if (effort == "minimal") return Think{true, "low"};
  if (effort == "xhigh" || effort == "ultra") return Think{true, "max"};
  for (const char* level : {"low", "medium", "high", "max"}) {
    if (effort == level) return Think{true, level};
  }
  fail("invalid reasoning effort " + dump_json(Json(effort.substr(0, 50))) +
       ": must be \"none\", \"minimal\", \"low\", \"medium\", \"high\", \"xhigh\" or \"max\"");
}

}  // namespace sluice::api::openai
