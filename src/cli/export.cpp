#include <cstdio>
#include <memory>
#include <string>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/progress_view.h"
#include "cli/settings.h"
#include "store/archive.h"

namespace sluice::cli {
namespace {

struct ExportFlags {
  std::string name;
  std::string file;
  std::string models;
};

void export_to_file(const ExportFlags& flags) {
  const store::Store store(flags.models.empty() ? read_settings().models_dir
                                                : expand_home(flags.models));
  const store::ModelRecord record = store.get(flags.name);
  const std::string path = expand_home(flags.file);
  ProgressView view(ProgressView::Trace::kNone);
  store::export_model(store, record.name, path, [&](uint64_t completed, uint64_t total) {
    view.update("exporting", completed, total);
  });
  view.finish();
  std::printf("exported %s to %s (%s)\n", record.name.short_name().c_str(), path.c_str(),
              format_bytes(record.size_bytes).c_str());
}

}  // namespace

void add_export(Command& program) {
  auto flags = std::make_shared<ExportFlags>();
  Command command = program.subcommand("export", "Write a model to one file, for another machine");
  command.option("NAME", flags->name, "A name in the store").required();
  command.option("FILE", flags->file, "Where to; `sluice import FILE` takes it in again")
      .required();
  command.option("--models", flags->models, "Folder of the store (default ~/.ollama/models)");
  command.footer("The file is a tar with an OCI image layout in it.");
  command.action([flags] { export_to_file(*flags); });
}

}  // namespace sluice::cli
