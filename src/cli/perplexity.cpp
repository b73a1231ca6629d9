#include "measure/perplexity.h"

#include <unistd.h>

#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/offline_model.h"
#include "cli/terminal.h"

namespace sluice::cli {
namespace {

struct PerplexityFlags {
  OfflineModelFlags model;
  std::string file;
  measure::PerplexityOptions options;
};

void show_window(int done, int total, double perplexity) {
  const bool is_terminal = isatty(STDERR_FILENO) != 0;
  const char* end = is_terminal && done < total ? "" : "\n";
  std::fprintf(stderr, "%swindow %d/%d  perplexity %.4f%s", is_terminal ? "\r" : "", done, total,
               perplexity, end);
}

void print_result(const measure::PerplexityResult& result) {
  std::printf("windows                %d\n", result.num_windows);
  std::printf("scored tokens          %lld\n", static_cast<long long>(result.num_scored));
  std::printf("perplexity             %.4f +/- %.4f\n", result.perplexity, result.perplexity_error);
  if (result.has_divergence) {
    std::printf("perplexity of the base %.4f\n", result.base_perplexity);
    std::printf("mean KL divergence     %.7f\n", result.mean_kl);
    std::printf("median KL divergence   %.7f\n", result.median_kl);
    std::printf("99.9%% KL divergence    %.7f\n", result.kl_99_9);
    std::printf("maximal KL divergence  %.7f\n", result.max_kl);
    std::printf("same top token         %.3f %%\n", 100.0 * result.same_top_share);
  }
  std::printf("speed                  %.1f tokens/s\n", result.tokens_per_second);
}

void run(PerplexityFlags& flags) {
  const std::string text = read_file(flags.file);
  flags.options.on_window = show_window;
  backend::LoadOptions load;
  load.max_batch_tokens = flags.options.step_tokens;
  load.max_logit_rows = measure::perplexity_logit_rows(flags.options);
  const auto num_blocks = static_cast<int>(backend::blocks_for_tokens(flags.options.context));
  const std::unique_ptr<model::Model> model = load_offline_model(flags.model, load, num_blocks);
  model->backend().allocate_cache(num_blocks);
  const auto tokenizer = text::Tokenizer::from_gguf(model->file());
  std::fprintf(stderr, "%s\n", model->backend().description().c_str());
  print_result(measure::measure_perplexity(*model, *tokenizer, text, flags.options));
}

}  // namespace

void add_perplexity(Command& program) {
  auto flags = std::make_shared<PerplexityFlags>();
  Command command = program.subcommand(
      "perplexity", "Measure how well a model predicts a text, and how far it is from a base");
  command.footer(
      "Windows of --ctx tokens, the second half of each scored. To compare two settings:\n"
      "  sluice perplexity MODEL -f text.txt --backend reference --save-base base.bin\n"
      "  sluice perplexity MODEL -f text.txt --kl-base base.bin");
  add_offline_model_flags(command, flags->model).required();
  command.option("-f,--file", flags->file, "The text").required();
  command.option("--ctx", flags->options.context, "Tokens in a window")
      .range(8, 1 << 20)
      .show_default();
  command
      .option("--step", flags->options.step_tokens,
              "Tokens computed at once: 1 measures decoding, many prefill")
      .range(1, 8192)
      .show_default();
  command.option("--windows", flags->options.max_windows, "At most so many windows (0: all)")
      .range(0, 1 << 20);
  const Option save = command.option("--save-base", flags->options.save_base,
                                     "Write the log-probabilities into this file (large)");
  command
      .option("--kl-base", flags->options.kl_base,
              "Compare with the log-probabilities in this file")
      .excludes(save);
  command.action([flags] { run(*flags); });
}

}  // namespace sluice::cli
