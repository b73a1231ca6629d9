#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/progress_view.h"
#include "cli/settings.h"
#include "store/archive.h"
#include "store/store.h"

namespace sluice::cli {
namespace {

struct ImportFlags {
  std::string file;
  std::string name;
  std::string models;
  bool hard_link = false;
};

void print_imported(const store::ModelRecord& record) {
  std::printf("imported %s (%s, id %s)\n", record.name.short_name().c_str(),
              format_bytes(record.size_bytes).c_str(), record.digest.short_id().c_str());
}

// A model that `export` has written.
void import_exported(store::Store& store, const ImportFlags& flags, const std::string& path) {
  std::optional<store::ModelName> name;
  if (!flags.name.empty()) name = store::ModelName::parse(flags.name);
  ProgressView view(ProgressView::Trace::kNone);
  const store::ModelName taken = store::import_archive(
      store, path, name,
      [&](uint64_t completed, uint64_t total) { view.update("importing", completed, total); });
  view.finish();
  const store::ModelRecord record = store.get(taken.full_name());
  print_imported(record);
}

void import(const ImportFlags& flags) {
  store::Store store(flags.models.empty() ? read_settings().models_dir : expand_home(flags.models));
  if (const std::string path = expand_home(flags.file); store::is_archive(path)) {
    import_exported(store, flags, path);
    return;
  }
  if (flags.name.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "a GGUF file needs a name: sluice import " + flags.file + " NAME");
  }
  const store::ModelName name = store::ModelName::parse(flags.name);
  ProgressView view(ProgressView::Trace::kNone);
  store::ImportOptions options;
  options.hard_link = flags.hard_link;
  options.on_progress = [&view](const store::ImportProgress& progress) {
    view.update(progress.phase, progress.completed_bytes, progress.total_bytes);
  };
  const store::ModelRecord record = store.import_gguf(expand_home(flags.file), name, options);
  view.finish();
  print_imported(record);
}

}  // namespace

void add_import(Command& program) {
  auto flags = std::make_shared<ImportFlags>();
  Command command = program.subcommand(
      "import", "Put a GGUF file, or one that export has written, into the store");
  command.option("FILE", flags->file, "A GGUF file, or an exported model").required();
  command.option("NAME", flags->name, "A name such as smollm2:135m; an exported model has one");
  command.option("--models", flags->models, "Folder of the store (default ~/.ollama/models)");
  command.flag("--hard-link", flags->hard_link,
               "Share the file's bytes instead of copying; nobody may write to it any more");
  command.action([flags] { import(*flags); });
}

}  // namespace sluice::cli
