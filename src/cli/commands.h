#pragma once

#include "cli/flags.h"

// One function a command, each in its own file: adds the subcommand with its flags and what it
// runs. A command reports failure by throwing sluice::Error; main prints it and sets the exit
// status.
namespace sluice::cli {

void add_run(Command& program);
void add_serve(Command& program);
void add_list(Command& program);
void add_ps(Command& program);
void add_show(Command& program);
void add_rm(Command& program);
void add_pull(Command& program);
void add_push(Command& program);
void add_cp(Command& program);
void add_doctor(Command& program);
void add_stop(Command& program);
void add_import(Command& program);
void add_quantize(Command& program);
void add_export(Command& program);
void add_create(Command& program);
void add_tokenize(Command& program);
void add_render(Command& program);
void add_perplexity(Command& program);
void add_plan(Command& program);
void add_bench(Command& program);
void add_loadtest(Command& program);
void add_loadtest_runs(Command& loadtest);  // list, show and compare, below it
void add_report(Command& program);
void add_top(Command& program);
void add_key(Command& program);
void add_explain(Command& program);
void add_usage(Command& program);
void add_version(Command& program);
void add_completion(Command& program);  // and the man page: both hidden

}  // namespace sluice::cli
