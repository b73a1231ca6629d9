#pragma once

#include <CLI/CLI.hpp>

// One function a command, each in its own file: adds the subcommand with its flags and what it
// runs. A command reports failure by throwing sluice::Error; main prints it and sets the exit
// status.
namespace sluice::cli {

void add_run(CLI::App& app);
void add_serve(CLI::App& app);
void add_list(CLI::App& app);
void add_ps(CLI::App& app);
void add_show(CLI::App& app);
void add_rm(CLI::App& app);
void add_stop(CLI::App& app);
void add_import(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_render(CLI::App& app);
void add_perplexity(CLI::App& app);
void add_bench(CLI::App& app);
void add_loadtest(CLI::App& app);
void add_top(CLI::App& app);
void add_version(CLI::App& app);

}  // namespace sluice::cli
