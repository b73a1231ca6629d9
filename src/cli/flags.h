#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

// Declares commands and their flags. It stands before CLI11, which takes seconds to compile: only
// flags.cpp sees it.
namespace sluice::cli {

struct CommandFacts;

// A flag or argument that was declared; each function says one thing more about it.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}

  Option& required();
  Option& range(int lowest, int highest);
  Option& range(double lowest, double highest);
  Option& one_of(std::vector<std::string> words);
  Option& comma_separated();
  Option& show_default();
  Option& value_or(const std::string& word);  // the flag may stand alone and then means this
  Option& value_name(const std::string& name);
  Option& repeatable();  // one value each time
  Option& excludes(const Option& other);

  bool is_given() const;  // after parsing

 private:
  CLI::Option* option_;
};

// A command, or a group of its flags. Copies mean the same command.
class Command {
 public:
  explicit Command(CLI::App* app) : app_(app) {}

  Command subcommand(const std::string& name, const std::string& description);
  void alias(const std::string& name);
  void need_subcommand();
  bool has_subcommand() const;  // after parsing: one was named
  void footer(const std::string& text);
  void hide();  // from --help and all that is made of describe()
  // Of the flags in the group at most one may be given.
  Command exclusive_group(const std::string& name, const std::string& description);

  // Where the value goes: a string, an int, a double, a vector of one of these, or an optional
  // number. `names` is as CLI11 has it: "-f,--file", or "FILE" for an argument.
  template <typename T>
  Option option(const std::string& names, T& value, const std::string& description);
  // The value is given to a function, each time.
  Option option_to(const std::string& names, std::function<void(const std::string&)> take,
                   const std::string& description);
  Option flag(const std::string& names, bool& value, const std::string& description);

  // What the command does once everything is parsed.
  void action(std::function<void()> run);

  // With what is under it, as it is declared by now.
  CommandFacts describe() const;

 private:
  CLI::App* app_;
};

// The command line as a whole.
struct ProgramText {
  std::string name;
  std::string description;
  std::string version;
  std::string footer;
};

// Parses the arguments and runs the command that they name; `add_commands` declares them all.
// Returns the exit status: 0, or 2 when the arguments are wrong, which it says on stderr.
int run_command_line(const ProgramText& text, const std::function<void(Command&)>& add_commands,
                     int argc, char** argv);

}  // namespace sluice::cli
