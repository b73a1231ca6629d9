// Speed of chat templates: milliseconds to parse, and to render a conversation, for each template
// of a folder and for all of them.
//
//   bench_chat_template FOLDER [--each] [--messages 20]
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "api/chat_context.h"

#include "text/chat_template.h"
#include "timing.h"

namespace {

using sluice::api::Message;
using sluice::bench::best_time;

std::vector<Message> conversation(int num_messages) {
  std::vector<Message> messages;
  for (int i = 0; i < num_messages; ++i) {
    Message message;
    message.role = i % 2 == 0 ? "user" : "assistant";
    for (int line = 0; line < 8; ++line) {
      message.content += "The river turns slowly past the garden, and nothing is said of it.\n";
    }
    messages.push_back(message);
  }
  return messages;
}

struct Times {
  double parse = 0;
  double render = 0;
};

Times measure(const std::filesystem::path& path, const std::vector<Message>& messages) {
  std::ifstream in(path, std::ios::binary);
  const std::string source{std::istreambuf_iterator<char>(in), {}};
  const sluice::text::ChatTemplate parsed(source);
  sluice::api::TemplateVariables variables;
  variables.bos_token = "<s>";
  variables.eos_token = "</s>";
  size_t size = 0;
  Times times;
  times.render = best_time(0.1, [&] {
    const auto context =
        sluice::api::chat_context(messages, sluice::api::Json::array(), {}, variables);
    size += parsed.render(context).size();
  });
  times.parse =
      best_time(0.05, [&] { size += sluice::text::ChatTemplate(source).source().size(); });
  if (size == 0) throw std::runtime_error("an empty prompt");
  return times;
}

}  // namespace

int main(int argc, char** argv) try {
  int num_messages = 20;
  bool shows_each = false;
  for (int i = 2; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--each") shows_each = true;
    if (std::string_view(argv[i]) == "--messages" && i + 1 < argc) {
      num_messages = std::stoi(argv[++i]);
    }
  }
  if (argc < 2) {
    std::fputs("usage: bench_chat_template FOLDER [--each] [--messages N]\n", stderr);
    return 2;
  }
  const std::vector<Message> messages = conversation(num_messages);
  Times sum;
  int num_templates = 0, num_failed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    try {
      const Times times = measure(entry.path(), messages);
      if (shows_each) {
        std::printf("%-60s parse %7.3f ms  render %7.3f ms\n", entry.path().filename().c_str(),
                    times.parse * 1e3, times.render * 1e3);
      }
      sum.parse += times.parse;
      sum.render += times.render;
      ++num_templates;
    } catch (const std::exception&) {
      ++num_failed;  // does not take such a conversation
    }
  }
  std::printf("%d templates (%d refuse this conversation): parse %.2f ms, render %.2f ms\n",
              num_templates, num_failed, sum.parse * 1e3, sum.render * 1e3);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "Error: %s\n", error.what());
  return 1;
}
