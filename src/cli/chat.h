#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/json.h"
#include "cli/line_editor.h"
#include "cli/reply_view.h"
#include "cli/server_link.h"

namespace sluice::cli {

struct ChatSettings {
  api::Json options = api::Json::object();
  std::string system;
  api::Json format;      // null, "json" or a JSON Schema
  api::Json think;       // null: the model's way
  api::Json keep_alive;  // null: the server's
  ReplyViewOptions view;
};

// The format field of a request: null for "", a JSON Schema for text that begins with {, else the
// word. Throws Error(kInvalidArgument) when the schema is no JSON.
api::Json read_format(const std::string& text);

// A conversation at the terminal: reads messages and /commands until /bye or Ctrl-D.
class Chat {
 public:
  Chat(ServerLink link, const std::string& model, ChatSettings settings,
       const std::string& history_path);
  // `shown`: the reply of /api/show for the model; null: it is asked for.
  void run(const api::Json& shown);

 private:
  enum class Next { kGoOn, kEnd };

  void load();
  void try_out(const ChatSettings& settings);
  std::optional<std::string> read_block(std::string first_line);
  Next take_line(const std::string& line);
  Next command(const std::string& line);
  void say(const std::string& text);
  void set(const std::vector<std::string>& words, const std::string& line);
  void set_parameter(const std::vector<std::string>& words);
  void show(const std::vector<std::string>& words);
  void switch_model(const std::string& name);
  void list();
  void save(const std::string& name);
  api::Json model_messages();
  api::Json request_base() const;

  ServerLink link_;
  std::string model_;
  ChatSettings settings_;
  LineEditor editor_;
  std::string typed_;  // while something else was on the screen; for the next line
  api::Json messages_ = api::Json::array();
};

}  // namespace sluice::cli
