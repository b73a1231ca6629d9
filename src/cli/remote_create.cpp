#include "cli/remote_create.h"

#include <algorithm>
#include <array>

#include "base/input_file.h"
#include "cli/progress_view.h"
#include "store/sha256.h"

namespace sluice::cli {
namespace {

// What models are made of, of all that lies in a folder.
bool is_wanted(const std::string& name, const convert::ModelFiles& files) {
  static constexpr std::array<std::string_view, 5> kEndings = {".safetensors", ".json", ".model",
                                                               ".jinja", ".gguf"};
  if (files.size() == 1) return true;
  // Mistral's folders hold the weights twice; these are in other names and order.
  const bool has_parts = std::ranges::any_of(files, [](const auto& file) {
    return file.first.starts_with("model") && file.first.ends_with(".safetensors");
  });
  if (has_parts && name.starts_with("consolidated")) return false;
  return std::ranges::any_of(kEndings, [&](std::string_view end) { return name.ends_with(end); });
}

// Sends a file, unless the server has it; returns its digest.
std::string send_file(ServerLink& link, ProgressView& view, const std::string& name,
                      const std::string& path) {
  const uint64_t size = InputFile(path).size_bytes();
  const auto tell = [&](const std::string& step, uint64_t done) { view.update(step, done, size); };
  const store::Digest digest =
      store::sha256_file(path, [&](uint64_t done) { tell("hashing " + name, done); });
  link.send_blob(digest.text(), path,
                 [&](uint64_t done) { tell("sending " + digest.short_id(), done); });
  return digest.text();
}

// The request as /api/create has it, but for the files.
api::Json body_of(const convert::ModelRecipe& request) {
  api::Json body = {{"model", request.name.short_name()}, {"stream", true}};
  if (request.from) body["from"] = request.from->short_name();
  const auto add = [&](const char* name, const std::string& text) {
    if (!text.empty()) body[name] = text;
  };
  add("template", request.chat_template);
  add("system", request.system);
  add("renderer", request.renderer);
  add("parser", request.parser);
  add("requires", request.minimum_version);
  add("quantize", request.quantize);
  if (!request.licenses.empty()) body["license"] = request.licenses;
  if (!request.params_json.empty()) body["parameters"] = api::parse_json(request.params_json);
  if (!request.messages_json.empty()) body["messages"] = api::parse_json(request.messages_json);
  return body;
}

}  // namespace

void create_on_server(ServerLink& link, const convert::ModelRecipe& request) {
  ProgressView view;
  api::Json body = body_of(request);
  for (const auto& [name, path] : request.files) {
    if (is_wanted(name, request.files)) body["files"][name] = send_file(link, view, name, path);
  }
  link.stream("/api/create", body, [&](const api::Json& line) {
    view.update(line);
    return true;
  });
}

}  // namespace sluice::cli
