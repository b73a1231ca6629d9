#include "cli/flags.h"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <utility>

#include "cli/terminal.h"

namespace sluice::cli {

Option& Option::required() {
  option_->required();
  return *this;
}

Option& Option::range(int lowest, int highest) {
  option_->check(CLI::Range(lowest, highest));
  return *this;
}

Option& Option::range(double lowest, double highest) {
  option_->check(CLI::Range(lowest, highest));
  return *this;
}

Option& Option::one_of(std::vector<std::string> words) {
  option_->check(CLI::IsMember(std::move(words)));
  return *this;
}

Option& Option::comma_separated() {
  option_->delimiter(',');
  return *this;
}

Option& Option::show_default() {
  option_->capture_default_str();
  return *this;
}

Option& Option::value_or(const std::string& word) {
  option_->expected(0, 1)->default_str(word);
  return *this;
}

Option& Option::value_name(const std::string& name) {
  option_->type_name(name);
  return *this;
}

Option& Option::repeatable() {
  option_->expected(1)->take_all();
  return *this;
}

Option& Option::excludes(const Option& other) {
  option_->excludes(other.option_);
  return *this;
}

bool Option::is_given() const { return option_->count() > 0; }

Command Command::subcommand(const std::string& name, const std::string& description) {
  return Command(app_->add_subcommand(name, description));
}

void Command::alias(const std::string& name) { app_->alias(name); }

void Command::footer(const std::string& text) { app_->footer(text); }

Command Command::exclusive_group(const std::string& name, const std::string& description) {
  CLI::Option_group* group = app_->add_option_group(name, description);
  group->require_option(0, 1);
  return Command(group);
}

template <typename T>
Option Command::option(const std::string& names, T& value, const std::string& description) {
  return Option(app_->add_option(names, value, description));
}
template Option Command::option(const std::string&, std::string&, const std::string&);
template Option Command::option(const std::string&, int&, const std::string&);
template Option Command::option(const std::string&, double&, const std::string&);
template Option Command::option(const std::string&, std::vector<std::string>&, const std::string&);
template Option Command::option(const std::string&, std::vector<int>&, const std::string&);
template Option Command::option(const std::string&, std::vector<double>&, const std::string&);
template Option Command::option(const std::string&, std::optional<int>&, const std::string&);
template Option Command::option(const std::string&, std::optional<double>&, const std::string&);
template Option Command::option(const std::string&, std::optional<uint64_t>&, const std::string&);

Option Command::option_to(const std::string& names, std::function<void(const std::string&)> take,
                          const std::string& description) {
  return Option(app_->add_option_function<std::string>(names, take, description));
}

Option Command::flag(const std::string& names, bool& value, const std::string& description) {
  return Option(app_->add_flag(names, value, description));
}

void Command::action(std::function<void()> run) { app_->callback(std::move(run)); }

namespace {

// CLI11 says only that a subcommand is missing when it does not know the one that is there.
std::string parse_error_text(const CLI::App& app, const CLI::ParseError& error, int argc,
                             char** argv) {
  if (argc < 2 || argv[1][0] == '-') return error.what();
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->check_name(argv[1])) return error.what();
  }
  return std::string("there is no command '") + argv[1] + "'";
}

}  // namespace

int run_command_line(const ProgramText& text, const std::function<void(Command&)>& add_commands,
                     int argc, char** argv) {
  CLI::App app(text.description, text.name);
  app.set_version_flag("-v,--version", text.version);
  app.footer(text.footer);
  app.require_subcommand(1);
  Command program(&app);
  add_commands(program);
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& error) {
    const int status = error.get_exit_code();
    if (status == 0) return app.exit(error);  // --help and --version
    print_error(parse_error_text(app, error, argc, argv));
    std::fputs("Run with --help for what there is.\n", stderr);
    return 2;
  }
}

}  // namespace sluice::cli
