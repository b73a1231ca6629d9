#include <cstdio>
#include <memory>
#include <string>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/progress_bar.h"
#include "cli/settings.h"
#include "store/store.h"

namespace sluice::cli {
namespace {

struct ImportFlags {
  std::string file;
  std::string name;
  std::string models;
  bool hard_link = false;
};

void import(const ImportFlags& flags) {
  store::Store store(flags.models.empty() ? read_settings().models_dir : expand_home(flags.models));
  const store::ModelName name = store::ModelName::parse(flags.name);
  ProgressBar bar;
  store::ImportOptions options;
  options.hard_link = flags.hard_link;
  options.on_progress = [&bar](const store::ImportProgress& progress) {
    bar.update(progress.phase, progress.completed_bytes, progress.total_bytes);
  };
  const store::ModelRecord record = store.import_gguf(expand_home(flags.file), name, options);
  bar.finish();
  std::printf("imported %s (%s, id %s)\n", record.name.short_name().c_str(),
              format_bytes(record.size_bytes).c_str(), record.digest.short_id().c_str());
}

}  // namespace

void add_import(Command& program) {
  auto flags = std::make_shared<ImportFlags>();
  Command command = program.subcommand("import", "Put a GGUF file into the store under a name");
  command.option("FILE", flags->file, "A GGUF file").required();
  command.option("NAME", flags->name, "A name such as smollm2:135m").required();
  command.option("--models", flags->models, "Folder of the store (default ~/.ollama/models)");
  command.flag("--hard-link", flags->hard_link,
               "Share the file's bytes instead of copying; nobody may write to it any more");
  command.action([flags] { import(*flags); });
}

}  // namespace sluice::cli
