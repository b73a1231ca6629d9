#include "cli/flags.h"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <utility>

#include "cli/command_tree.h"
#include "cli/suggest.h"
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

void Command::need_subcommand() { app_->require_subcommand(1); }

bool Command::has_subcommand() const { return !app_->get_subcommands().empty(); }

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
template Option Command::option(const std::string&, int64_t&, const std::string&);
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

void Command::hide() { app_->group(""); }

namespace {

// The words that CLI::IsMember takes: it says them as "TEXT:{f16,q8_0}".
std::vector<std::string> choices_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t begin = type.find('{');
  const size_t end = type.find('}', begin);
  if (begin == std::string::npos || end == std::string::npos) return {};
  return CLI::detail::split(type.substr(begin + 1, end - begin - 1), ',');
}

// "TEXT" of "TEXT:{f16,q8_0}".
std::string kind_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  return type.substr(0, type.find_first_of(": "));
}

bool is_repeatable(const CLI::Option& option) { return option.get_items_expected_max() > 1; }

FlagFacts flag_facts(const CLI::Option& option) {
  FlagFacts flag;
  for (const std::string& name : option.get_snames()) flag.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) flag.names.push_back("--" + name);
  if (option.get_type_size_max() > 0) {
    flag.value = kind_of(option);
    if (flag.value.empty()) flag.value = "VALUE";
  }
  flag.choices = choices_of(option);
  flag.is_value_optional = option.get_expected_min() == 0;
  flag.description = option.get_description();
  return flag;
}

// Flags and arguments of `app` and of the groups in it, which are apps without names.
void add_options(const CLI::App& app, CommandFacts& facts) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty() || option == app.get_help_ptr()) continue;
    if (option->get_positional()) {
      facts.arguments.push_back({option->get_name(true), choices_of(*option),
                                 option->get_required(), is_repeatable(*option),
                                 option->get_description()});
    } else {
      facts.flags.push_back(flag_facts(*option));
    }
  }
}

CommandFacts facts_of(const CLI::App& app) {
  CommandFacts facts;
  facts.name = app.get_name();
  facts.aliases = app.get_aliases();
  facts.description = app.get_description();
  facts.footer = app.get_footer();
  add_options(app, facts);
  for (const CLI::App* child : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (child->get_name().empty()) {
      add_options(*child, facts);
    } else if (!child->get_group().empty()) {
      facts.commands.push_back(facts_of(*child));
    }
  }
  return facts;
}

}  // namespace

CommandFacts Command::describe() const { return facts_of(*app_); }

namespace {

// CLI11 says only that a subcommand is missing when it does not know the one that is there.
std::string parse_error_text(const CLI::App& app, const CLI::ParseError& error, int argc,
                             char** argv) {
  if (argc < 2 || argv[1][0] == '-') return error.what();
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->check_name(argv[1])) return error.what();
    names.push_back(command->get_name());
  }
  return std::string("there is no command '") + argv[1] + "'" + did_you_mean(argv[1], names);
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
