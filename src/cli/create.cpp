#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "api/json.h"
#include "base/error.h"
#include "base/input_file.h"
#include "base/print.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/settings.h"
#include "cli/transfer_view.h"
#include "convert/create.h"
#include "store/modelfile.h"

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;

struct CreateFlags {
  std::string name;
  std::string file;
  std::string quantize;
  std::string models;
};

store::Modelfile read_modelfile(const CreateFlags& flags) {
  constexpr size_t kMostBytes = size_t{16} << 20;
  const std::string path = flags.file.empty() ? "Modelfile" : expand_home(flags.file);
  if (!fs::exists(path)) {
    throw Error(ErrorCode::kNotFound,
                "specified Modelfile wasn't found: '" + printable(path) + "'; name it with -f");
  }
  return store::parse_modelfile(read_small_file(path, kMostBytes));
}

// FROM is a path when something lies there, seen from the Modelfile; else a model's name.
void set_source(const std::string& from, const CreateFlags& flags,
                convert::CreateRequest& request) {
  fs::path path = expand_home(from);
  if (path.is_relative()) {
    path = fs::absolute(flags.file.empty() ? "Modelfile" : expand_home(flags.file)).parent_path() /
           path;
  }
  if (fs::is_directory(path)) {
    request.files = convert::list_model_files(path.string());
  } else if (fs::exists(path)) {
    request.files = {{path.filename().string(), path.string()}};
  } else if (from.starts_with('/') || from.starts_with('.') || from.starts_with('~')) {
    throw Error(ErrorCode::kNotFound, "there is no '" + printable(path.string()) + "'");
  } else {
    request.from = store::ModelName::parse(from);
  }
}

convert::CreateRequest request_of(const store::Modelfile& file, const CreateFlags& flags) {
  if (file.from.size() > 1) {
    throw Error(ErrorCode::kUnsupported, "several FROM lines are not supported");
  }
  convert::CreateRequest request;
  request.name = store::ModelName::parse(flags.name);
  set_source(file.from.front(), flags, request);
  request.chat_template = file.chat_template.value_or("");
  request.system = file.system.value_or("");
  request.params_json = store::parameters_json(file.parameters);
  request.licenses = file.licenses;
  request.renderer = file.renderer;
  request.parser = file.parser;
  request.minimum_version = file.requirement;
  request.quantize = flags.quantize;
  if (!file.messages.empty()) {
    api::Json messages = api::Json::array();
    for (const store::Modelfile::Message& message : file.messages) {
      messages.push_back({{"role", message.role}, {"content", message.content}});
    }
    request.messages_json = api::dump_json(messages) + "\n";
  }
  return request;
}

void create_model(const CreateFlags& flags) {
  store::Store store(flags.models.empty() ? read_settings().models_dir : expand_home(flags.models));
  const convert::CreateRequest request = request_of(read_modelfile(flags), flags);
  TransferView view;
  const auto show = [&view](const convert::CreateProgress& line) {
    api::Json json = {{"status", line.status}};
    if (!line.digest.empty()) {
      json["digest"] = line.digest;
      json["total"] = line.total_bytes;
      json["completed"] = line.completed_bytes;
    }
    view.update(json);
  };
  convert::create(store, request, show, {});
}

}  // namespace

void add_create(Command& program) {
  auto flags = std::make_shared<CreateFlags>();
  Command command = program.subcommand("create", "Make a model from a Modelfile");
  command.option("MODEL", flags->name, "Its name, such as mine:7b").required();
  command.option("-f,--file", flags->file, "The Modelfile (default ./Modelfile)");
  command.option("-q,--quantize", flags->quantize, "Make its weights this type, such as q4_K_M");
  command.option("--models", flags->models, "Folder of the store (default ~/.ollama/models)");
  command.footer(
      "FROM names a model of the store, a GGUF file, or a folder with safetensors (Llama, "
      "Mistral,\n"
      "Qwen 2, Gemma 3).\n"
      "\nExample:\n  printf 'FROM ./gemma-3-270m\\nSYSTEM Be brief.\\n' >Modelfile\n"
      "  sluice create brief --quantize q4_K_M");
  command.action([flags] { create_model(*flags); });
}

}  // namespace sluice::cli
