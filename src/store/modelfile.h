#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::store {

// What a Modelfile says, in the order it says it. Source: Ollama's documentation of the Modelfile.
struct Modelfile {
  struct Parameter {
    std::string name;   // in lower case
    std::string value;  // as written
  };
  struct Message {
    std::string role;  // system, user or assistant
    std::string content;
  };
  std::vector<std::string> from;  // names or paths, at least one
  std::vector<Parameter> parameters;
  std::optional<std::string> chat_template;
  std::optional<std::string> system;
  std::vector<Message> messages;
  std::vector<std::string> licenses;
  std::string renderer, parser, requirement;  // RENDERER, PARSER, REQUIRES
};

// Reads UTF-8, or UTF-16 with a byte order mark. Commands without regard to case, comments with #.
// A value is the rest of the line, or stands between " or """ and may have several lines then; it
// ends with the first line whose end closes it, and there are no escapes in it. Throws
// Error(kInvalidArgument) "(line N): ..." and for a file without FROM; Error(kUnsupported) naming
// ADAPTER and DRAFT.
Modelfile parse_modelfile(std::string_view text);

// A Modelfile that parse_modelfile() reads as the same. `name` is told in a comment.
std::string format_modelfile(const Modelfile& modelfile, const std::string& name);

// The parameters as the JSON text of a params layer: numbers, true and false by the parameter's
// type, several `stop` as a list. "" when there are none. Names of Ollama's past are left out.
// Throws Error(kInvalidArgument): "unknown parameter 'x'", or a value of another type.
std::string parameters_json(const std::vector<Modelfile::Parameter>& parameters);

}  // namespace sluice::store
