#pragma once

#include <string>
#include <vector>

// What the program's commands are, as plain data: from it come shell completion and the man page,
// so that they say what --help says.
namespace sluice::cli {

struct FlagFacts {
  std::vector<std::string> names;  // "-f", "--file"
  std::string value;               // its kind, "TEXT"; "": it stands alone
  std::vector<std::string> choices;
  bool is_value_optional = false;
  std::string description;
};

struct ArgumentFacts {
  std::string name;  // "MODEL"
  std::vector<std::string> choices;
  bool is_required = false;
  bool is_repeatable = false;
  std::string description;
};

struct CommandFacts {
  std::string name;
  std::vector<std::string> aliases;
  std::string description;
  std::string footer;
  std::vector<FlagFacts> flags;
  std::vector<ArgumentFacts> arguments;
  std::vector<CommandFacts> commands;  // those under it
};

// Scripts that complete a command line of it.
std::string bash_completion(const CommandFacts& program);
std::string zsh_completion(const CommandFacts& program);
std::string fish_completion(const CommandFacts& program);

// A page for man(1), in roff. `version`: "0.1.0".
std::string manual_page(const CommandFacts& program, const std::string& version);

}  // namespace sluice::cli
