#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/progress_view.h"
#include "cli/settings.h"
#include "convert/quantize.h"

namespace sluice::cli {
namespace {

struct QuantizeFlags {
  std::string file;
  std::string type;
  std::string out;
  int num_threads = 0;
  bool allow_requantize = false;
};

void quantize_file(const QuantizeFlags& flags) {
  namespace fs = std::filesystem;
  const convert::Mix& mix = convert::find_mix(flags.type);
  const gguf::File source = gguf::File::open(expand_home(flags.file));
  const fs::path out = fs::absolute(expand_home(flags.out));
  if (fs::is_directory(out)) {
    throw Error(ErrorCode::kInvalidArgument, "'" + out.string() + "' is a folder; name a file");
  }
  ProgressView view(ProgressView::Trace::kNone);
  convert::QuantizeOptions options;
  options.allow_requantize = flags.allow_requantize;
  options.write.num_threads = flags.num_threads;
  options.write.on_progress = [&view](const convert::WriteProgress& progress) {
    view.update("quantizing", progress.completed_bytes, progress.total_bytes);
  };
  const auto start = std::chrono::steady_clock::now();
  store::TemporaryFile temporary(out.parent_path().string());
  convert::quantize(source, mix, temporary, options);
  temporary.commit(out.string());
  view.finish();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::printf("%s: %s to %s in %.1f s\n", flags.out.c_str(),
              format_bytes(source.size_bytes()).c_str(), format_bytes(fs::file_size(out)).c_str(),
              seconds.count());
}

}  // namespace

void add_quantize(Command& program) {
  auto flags = std::make_shared<QuantizeFlags>();
  Command command =
      program.subcommand("quantize", "Write a GGUF file with its weights in fewer bits");
  std::string names;
  for (const convert::Mix& mix : convert::all_mixes()) names += " " + std::string(mix.name);
  command.footer("\nTypes:" + names +
                 "\n\nExample:\n  sluice quantize model-f16.gguf q4_K_M model-q4.gguf\n"
                 "  sluice show --tensors model-q4.gguf     which type each tensor got");
  command.option("FILE", flags->file, "A GGUF file in f32, f16 or bf16").required();
  command.option("TYPE", flags->type, "What to make of it, for example q4_K_M").required();
  command.option("OUT", flags->out, "Where to write; replaced when it is there").required();
  command.option("--threads", flags->num_threads, "Threads (0: all cores)").range(0, 1024);
  command.flag("--allow-requantize", flags->allow_requantize,
               "Take a file that is quantized already, though that loses more");
  command.action([flags] { quantize_file(*flags); });
}

}  // namespace sluice::cli
