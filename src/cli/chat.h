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
  std::string format;    // "" or "json"
  api::Json think;       // null: the model's way
  api::Json keep_alive;  // null: the server's
  ReplyViewOptions view;
};

// A conversation at the terminal: reads messages and /commands until /bye or Ctrl-D.
class Chat {
 public:
  Chat(ServerLink link, const std::string& model, ChatSettings settings,
       const std::string& history_path);
  void run();

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
  api::Json request_base() const;

  ServerLink link_;
  std::string model_;
  ChatSettings settings_;
  LineEditor editor_;
  std::string typed_;  // while something else was on the screen; for the next line
  api::Json messages_ = api::Json::array();
};

}  // namespace sluice::cli
