#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>

#include "cli/command_tree.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "server/version.h"

namespace sluice::cli {
namespace {

// Each command below `command` with the words that name it: "key add".
template <typename Visit>
void for_each_command(const CommandFacts& command, const std::string& path, const Visit& visit) {
  for (const CommandFacts& child : command.commands) {
    const std::string child_path = path.empty() ? child.name : path + " " + child.name;
    visit(child, child_path, path);
    for_each_command(child, child_path, visit);
  }
}

std::vector<std::string> names_of(const CommandFacts& command) {
  std::vector<std::string> names = {command.name};
  names.insert(names.end(), command.aliases.begin(), command.aliases.end());
  return names;
}

// For a shell: in single quotes.
std::string shell_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

bool is_model(const std::string& argument) { return argument == "MODEL" || argument == "SOURCE"; }

// --- bash ---------------------------------------------------------------------------------------

constexpr const char* kBashHead =
    R"SHELL(# bash completion of sluice, made by `sluice completion bash`

_sluice() {
  local typed=${COMP_LINE:0:COMP_POINT} command= flags= words= models= values= word previous= i
  local -a typed_words
  read -ra typed_words <<<"$typed"
  # bash cuts words at colons, which names of models have: the words are those between spaces.
  typed=${typed##*[[:space:]]}
  [[ -z $typed ]] || unset 'typed_words[-1]'
  for word in "${typed_words[@]:1}"; do
    case "$command/$word" in
)SHELL";

constexpr const char* kBashTail = R"SHELL(  if [[ $values == - ]]; then
    COMPREPLY=($(compgen -f -- "$typed"))
  elif [[ -n $values ]]; then
    COMPREPLY=($(compgen -W "$values" -- "$typed"))
  elif [[ $typed == -* ]]; then
    COMPREPLY=($(compgen -W "$flags --help" -- "$typed"))
  else
    [[ -z $models ]] || words+=" $(sluice list 2>/dev/null | awk 'NR > 1 { print $1 }')"
    COMPREPLY=($(compgen -W "$words" -- "$typed"))
    [[ -z $command ]] || COMPREPLY+=($(compgen -f -- "$typed"))
  fi
  local cut=${typed%"${typed##*[:=]}"}
  COMPREPLY=("${COMPREPLY[@]#"$cut"}")
}
complete -o filenames -F _sluice sluice
)SHELL";

std::string bash_case(const CommandFacts& command) {
  std::vector<std::string> words, flags;
  bool wants_model = false;
  for (const CommandFacts& child : command.commands) words.push_back(child.name);
  for (const ArgumentFacts& argument : command.arguments) {
    words.insert(words.end(), argument.choices.begin(), argument.choices.end());
    wants_model = wants_model || is_model(argument.name);
  }
  std::string values;
  for (const FlagFacts& flag : command.flags) {
    flags.insert(flags.end(), flag.names.begin(), flag.names.end());
    if (flag.value.empty() || flag.is_value_optional) continue;
    const std::string value =
        flag.choices.empty() ? "-" : fmt::format("'{}'", fmt::join(flag.choices, " "));
    values += fmt::format("        {}) values={} ;;\n", fmt::join(flag.names, " | "), value);
  }
  std::string text = fmt::format("      flags='{}' words='{}'{}\n", fmt::join(flags, " "),
                                 fmt::join(words, " "), wants_model ? " models=1" : "");
  if (!values.empty()) text += "      case $previous in\n" + values + "      esac\n";
  return text;
}

// --- zsh ----------------------------------------------------------------------------------------

// In _arguments' specifications colons and brackets divide.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == ':' || c == '[' || c == ']') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_function(const std::string& path) {
  std::string name = "_sluice";
  if (!path.empty()) name += "_" + path;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}

std::string zsh_values(const std::vector<std::string>& choices) {
  return choices.empty() ? "_files" : fmt::format("({})", fmt::join(choices, " "));
}

std::vector<std::string> zsh_specs(const CommandFacts& command) {
  std::vector<std::string> specs = {"'(- *)--help[Print what there is]'"};
  for (const FlagFacts& flag : command.flags) {
    for (const std::string& name : flag.names) {
      std::string spec = name + (flag.value.empty() ? "" : name.starts_with("--") ? "=" : "+");
      spec += "[" + zsh_text(flag.description) + "]";
      if (!flag.value.empty()) {
        spec += fmt::format("{}{}:{}", flag.is_value_optional ? "::" : ":", zsh_text(flag.value),
                            zsh_values(flag.choices));
      }
      specs.push_back(shell_quoted("*" + spec));
    }
  }
  for (const ArgumentFacts& argument : command.arguments) {
    const std::string values =
        is_model(argument.name) ? "_sluice_models" : zsh_values(argument.choices);
    specs.push_back(shell_quoted((argument.is_repeatable ? "*:"
                                  : argument.is_required ? ":"
                                                         : "::") +
                                 zsh_text(argument.name) + ":" + values));
  }
  return specs;
}

std::string zsh_command(const CommandFacts& command, const std::string& path) {
  std::string text = zsh_function(path) + "() {\n";
  if (command.commands.empty()) {
    return text + fmt::format("  _arguments -s \\\n    {}\n}}\n\n",
                              fmt::join(zsh_specs(command), " \\\n    "));
  }
  std::string list, cases;
  for (const CommandFacts& child : command.commands) {
    list += "    " + shell_quoted(child.name + ":" + zsh_text(child.description)) + "\n";
    const std::string child_path = path.empty() ? child.name : path + " " + child.name;
    cases += fmt::format("        {}) {} ;;\n", fmt::join(names_of(child), " | "),
                         zsh_function(child_path));
  }
  return text + "  local context state line\n  local -a commands=(\n" + list +
         "  )\n  _arguments -C '(- *)--help[Print what there is]' '1: :->command' '*:: :->rest'\n"
         "  case $state in\n    command) _describe command commands ;;\n    rest)\n"
         "      case $line[1] in\n" +
         cases + "      esac ;;\n  esac\n}\n\n";
}

constexpr const char* kZshModels = R"SHELL(_sluice_models() {
  local -a models=(${(f)"$(sluice list 2>/dev/null | awk 'NR > 1 { print $1 }')"})
  models=(${models//:/\\:})
  _describe model models
  _files
}

)SHELL";

// --- fish ---------------------------------------------------------------------------------------

constexpr const char* kFishHead =
    R"SHELL(# fish completion of sluice, made by `sluice completion fish`

function __sluice_models
  sluice list 2>/dev/null | awk 'NR > 1 { print $1 }'
end

)SHELL";

// When words that name `command` have been typed.
std::string fish_condition(const CommandFacts& command, const std::string& parent_condition) {
  const std::string own =
      fmt::format("__fish_seen_subcommand_from {}", fmt::join(names_of(command), " "));
  return parent_condition.empty() ? own : parent_condition + "; and " + own;
}

std::string fish_flags(const CommandFacts& command, const std::string& condition) {
  std::string text;
  for (const FlagFacts& flag : command.flags) {
    text += "complete -c sluice -n " + shell_quoted(condition);
    for (const std::string& name : flag.names) {
      text += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    }
    if (!flag.choices.empty()) {
      text += fmt::format(" -x -a '{}'", fmt::join(flag.choices, " "));
    } else if (!flag.value.empty() && !flag.is_value_optional) {
      text += " -r";
    }
    text += " -d " + shell_quoted(flag.description) + "\n";
  }
  for (const ArgumentFacts& argument : command.arguments) {
    std::string words = fmt::format("{}", fmt::join(argument.choices, " "));
    if (is_model(argument.name)) words = "(__sluice_models)";
    if (words.empty()) continue;
    text +=
        "complete -c sluice -n " + shell_quoted(condition) + " -a " + shell_quoted(words) + "\n";
  }
  return text;
}

std::string fish_commands(const CommandFacts& command, const std::string& condition) {
  std::string text = fish_flags(command, condition);
  std::string missing = "__fish_use_subcommand";
  if (!condition.empty()) {
    std::vector<std::string> names;
    for (const CommandFacts& child : command.commands) names.push_back(child.name);
    missing = condition + "; and not __fish_seen_subcommand_from " +
              fmt::format("{}", fmt::join(names, " "));
  }
  for (const CommandFacts& child : command.commands) {
    text += fmt::format("complete -c sluice -n {} -f -a {} -d {}\n", shell_quoted(missing),
                        child.name, shell_quoted(child.description));
    text += fish_commands(child, fish_condition(child, condition));
  }
  return text;
}

}  // namespace

std::string bash_completion(const CommandFacts& program) {
  std::string text = kBashHead;
  for_each_command(
      program, "",
      [&](const CommandFacts& command, const std::string& path, const std::string& parent) {
        for (const std::string& name : names_of(command)) {
          text += fmt::format("      {}) command={} ;;\n", shell_quoted(parent + "/" + name),
                              shell_quoted(path));
        }
      });
  text += "    esac\n    previous=$word\n  done\n  case $command in\n    '')\n" +
          bash_case(program) + "      ;;\n";
  for_each_command(
      program, "", [&](const CommandFacts& command, const std::string& path, const std::string&) {
        text += "    " + shell_quoted(path) + ")\n" + bash_case(command) + "      ;;\n";
      });
  return text + "  esac\n" + kBashTail;
}

std::string zsh_completion(const CommandFacts& program) {
  std::string text =
      "#compdef sluice\n# zsh completion of sluice, made by `sluice completion zsh`\n\n";
  text += kZshModels + zsh_command(program, "");
  for_each_command(program, "",
                   [&](const CommandFacts& command, const std::string& path, const std::string&) {
                     text += zsh_command(command, path);
                   });
  // As a file in $fpath this is the function's body; a shell that has sourced it defines it only.
  return text +
         "if [[ $funcstack[1] == _sluice ]]; then\n  _sluice \"$@\"\nelse\n"
         "  compdef _sluice sluice\nfi\n";
}

std::string fish_completion(const CommandFacts& program) {
  return kFishHead + fish_commands(program, "");
}

void add_completion(Command& program) {
  auto shell = std::make_shared<std::string>();
  Command completion =
      program.subcommand("completion", "Print what makes a shell complete our command lines");
  completion.hide();
  completion.option("SHELL", *shell, "Which one").required().one_of({"bash", "zsh", "fish"});
  completion.footer("Example: source <(sluice completion bash)");
  completion.action([shell, program] {
    const CommandFacts facts = program.describe();
    write_output(*shell == "bash"  ? bash_completion(facts)
                 : *shell == "zsh" ? zsh_completion(facts)
                                   : fish_completion(facts));
  });
  Command manual = program.subcommand("manual", "Print the man page, for man -l -");
  manual.hide();
  manual.action(
      [program] { write_output(manual_page(program.describe(), std::string(server::kVersion))); });
}

}  // namespace sluice::cli
