#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "api/json.h"
#include "base/error.h"
#include "base/input_file.h"
#include "base/print.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/progress_view.h"
#include "cli/remote_create.h"
#include "cli/settings.h"
#include "convert/create.h"
#include "server/access.h"
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

// FROM is a path when something lies there, seen from the Modelfile; else a model's name. Several
// are the files of one model.
void add_source(const std::string& from, const CreateFlags& flags, convert::ModelRecipe& request) {
  fs::path path = expand_home(from);
  if (path.is_relative()) {
    path = fs::absolute(flags.file.empty() ? "Modelfile" : expand_home(flags.file)).parent_path() /
           path;
  }
  if (fs::is_directory(path)) {
    request.files = convert::list_model_files(path.string());
  } else if (fs::exists(path)) {
    request.files.emplace(path.filename().string(), path.string());
  } else if (from.starts_with('/') || from.starts_with('.') || from.starts_with('~')) {
    throw Error(ErrorCode::kNotFound, "there is no '" + printable(path.string()) + "'");
  } else {
    request.from = store::ModelName::parse(from);
  }
}

convert::ModelRecipe request_of(const store::Modelfile& file, const CreateFlags& flags) {
  convert::ModelRecipe request;
  request.name = store::ModelName::parse(flags.name);
  for (const std::string& from : file.from) add_source(from, flags, request);
  if (file.from.size() > 1 && request.files.size() < file.from.size()) {
    throw Error(ErrorCode::kUnsupported,
                "several FROM lines name the files of one model, each once");
  }
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

// The server that SLUICE_HOST names makes the model, in its own store. On this machine it need not
// run: then, and where no server is named, the model is made here.
std::optional<ServerLink> find_server(const CreateFlags& flags) {
  const Settings settings = read_settings();
  if (!flags.models.empty() || !settings.names_host) return std::nullopt;
  try {
    return ServerLink::connect(settings);
  } catch (const Error& error) {
    const std::string host = http::parse_url(settings.host).host;
    const bool is_here = host == "localhost" || server::is_loopback_address(host);
    if (error.code() != ErrorCode::kIo || !is_here) throw;
    std::fprintf(stderr, "No server answers at %s: the model is made in %s.\n",
                 printable(settings.host).c_str(), printable(settings.models_dir).c_str());
    return std::nullopt;
  }
}

void create_model(const CreateFlags& flags) {
  const convert::ModelRecipe request = request_of(read_modelfile(flags), flags);
  if (std::optional<ServerLink> link = find_server(flags)) return create_on_server(*link, request);
  store::Store store(flags.models.empty() ? read_settings().models_dir : expand_home(flags.models));
  ProgressView view;
  const auto show = [&view](const convert::CreateProgress& line) {
    view.update(line.status, line.completed_bytes, line.total_bytes);
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
      "Qwen 2 and 3, Gemma 3) or with the parts of a split GGUF file.\n"
      "With SLUICE_HOST the server there makes it: what it needs is sent. When it is on this\n"
      "machine and does not run, or with --models, the model is made here.\n"
      "\nExample:\n  printf 'FROM ./gemma-3-270m\\nSYSTEM Be brief.\\n' >Modelfile\n"
      "  sluice create brief --quantize q4_K_M");
  command.action([flags] { create_model(*flags); });
}

}  // namespace sluice::cli
