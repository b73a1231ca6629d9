#include <fmt/format.h>
#include <fmt/ranges.h>

#include <sstream>

#include "cli/command_tree.h"

namespace sluice::cli {
namespace {

// Text for roff: no escapes, no requests, minus signs that can be copied.
std::string roff(const std::string& text) {
  std::string out;
  bool is_line_begin = true;
  for (const char c : text) {
    if (is_line_begin && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
    is_line_begin = c == '\n';
  }
  return out;
}

std::string synopsis(const CommandFacts& command, const std::string& path) {
  std::string text = ".B " + roff(path) + "\n";
  if (!command.flags.empty()) text += "[\\fIflags\\fR]\n";
  for (const ArgumentFacts& argument : command.arguments) {
    std::string name = "\\fI" + roff(argument.name) + "\\fR";
    if (argument.is_repeatable) name += " ...";
    text += (argument.is_required ? name : "[" + name + "]") + "\n";
  }
  return text;
}

std::string flag_text(const FlagFacts& flag) {
  std::vector<std::string> names;
  for (const std::string& name : flag.names) names.push_back("\\fB" + roff(name) + "\\fR");
  std::string text = fmt::format(".TP\n{}", fmt::join(names, ", "));
  if (!flag.value.empty()) {
    const std::string value =
        flag.choices.empty() ? flag.value : fmt::format("{}", fmt::join(flag.choices, "|"));
    const char* form = flag.is_value_optional ? " [\\fI{}\\fR]" : " \\fI{}\\fR";
    text += fmt::format(fmt::runtime(form), roff(value));
  }
  return text + "\n" + roff(flag.description) + "\n";
}

void add_command(const CommandFacts& command, const std::string& path, std::string& text) {
  if (command.commands.empty()) {
    text += ".SS " + roff(path.substr(path.find(' ') + 1)) + "\n" + synopsis(command, path) +
            ".PP\n" + roff(command.description) + ".\n";
    if (!command.aliases.empty()) {
      text += fmt::format("Also called {}.\n",
                          roff(fmt::format("{}", fmt::join(command.aliases, ", "))));
    }
    for (const ArgumentFacts& argument : command.arguments) {
      text += ".TP\n\\fI" + roff(argument.name) + "\\fR\n" + roff(argument.description) + "\n";
    }
    for (const FlagFacts& flag : command.flags) text += flag_text(flag);
    if (!command.footer.empty()) text += ".PP\n.nf\n" + roff(command.footer) + "\n.fi\n";
  }
  for (const CommandFacts& child : command.commands) {
    add_command(child, path + " " + child.name, text);
  }
}

}  // namespace

std::string manual_page(const CommandFacts& program, const std::string& version) {
  std::string text = fmt::format(
      ".TH SLUICE 1 \"\" \"sluice {}\" \"User Commands\"\n.SH NAME\n{} \\- run language models on "
      "this machine\n.SH SYNOPSIS\n.B sluice\n\\fIcommand\\fR [\\fIflags\\fR] "
      "[\\fIarguments\\fR]\n.SH DESCRIPTION\n{}\n.SH COMMANDS\n",
      version, program.name, roff(program.description));
  add_command(program, program.name, text);
  text += ".SH EXAMPLES AND SETTINGS\n.nf\n" + roff(program.footer) + "\n.fi\n";
  text +=
      ".SH EXIT STATUS\n0 on success, 1 when the command failed, 2 when its arguments are wrong, "
      "130 when it was interrupted.\n"
      ".SH FILES\n.TP\n.I ~/.ollama/models\nThe store of models, in Ollama\\(aqs layout.\n"
      ".TP\n.I ~/.sluice/keys.db\nAPI keys and what they have used.\n"
      ".TP\n.I /etc/default/sluice\nSettings of the system\\(aqs service.\n"
      ".SH SEE ALSO\n.BR systemctl (1),\n.BR journalctl (1)\n";
  return text;
}

}  // namespace sluice::cli
