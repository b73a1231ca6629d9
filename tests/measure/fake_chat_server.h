#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "http/scripted_server.h"

// A chat server of either protocol with known timing: every request waits `first_delay`, then sends
// `num_tokens` pieces `gap` apart, and reports its counts.
namespace sluice::test {

struct FakeChat {
  std::chrono::milliseconds first_delay{20};
  std::chrono::milliseconds gap{2};
  int num_tokens = 10;
  int num_prompt_tokens = 33;
  int break_from_request = -1;   // from this request on (0 is the first) it dies mid-way
  int refuse_from_request = -1;  // from this request on it answers 503
  bool has_usage = true;
};

class FakeChatServer {
 public:
  explicit FakeChatServer(FakeChat chat)
      : chat_(chat), server_([this](ScriptedConnection& connection) { serve(connection); }) {}

  std::string url() const { return server_.url(); }

  // Bodies of the chat requests so far.
  std::vector<nlohmann::json> requests() {
    std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void serve(ScriptedConnection& connection) {
    ScriptedRequest request;
    while (connection.read_request(request)) {
      if (request.target == "/api/tags") {
        connection.reply(200, R"({"models":[{"name":"first:latest"},{"name":"second"}]})");
      } else if (request.target == "/v1/models") {
        connection.reply(200, R"({"object":"list","data":[{"id":"first"}]})");
      } else if (!reply_chat(connection, request)) {
        return;
      }
    }
  }

  bool reply_chat(ScriptedConnection& connection, const ScriptedRequest& request) {
    int number;
    {
      std::lock_guard lock(mutex_);
      number = static_cast<int>(requests_.size());
      requests_.push_back(nlohmann::json::parse(request.body));
    }
    if (chat_.refuse_from_request >= 0 && number >= chat_.refuse_from_request) {
      connection.reply(503, R"({"error":"server busy"})");
      return true;
    }
    const bool is_ollama = request.target == "/api/chat";
    connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    std::this_thread::sleep_for(chat_.first_delay);
    const bool breaks = chat_.break_from_request >= 0 && number >= chat_.break_from_request;
    for (int i = 0; i < (breaks ? 1 : chat_.num_tokens); ++i) {
      if (i > 0) std::this_thread::sleep_for(chat_.gap);
      connection.write_chunk(is_ollama
                                 ? R"({"message":{"role":"assistant","content":"x"},"done":false})"
                                   "\n"
                                 : "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n");
    }
    if (breaks) return false;
    connection.write_chunk(is_ollama ? ollama_end() : openai_end());
    connection.write_chunk("");
    return true;
  }

  std::string ollama_end() const {
    nlohmann::json end = {{"message", {{"role", "assistant"}, {"content", ""}}},
                          {"done", true},
                          {"done_reason", "stop"}};
    if (chat_.has_usage) {
      end["eval_count"] = chat_.num_tokens;
      end["prompt_eval_count"] = chat_.num_prompt_tokens;
      end["eval_duration"] = 1'000'000;
    }
    return end.dump() + "\n";
  }

  std::string openai_end() const {
    std::string text = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    if (chat_.has_usage) {
      const nlohmann::json usage = {
          {"choices", nlohmann::json::array()},
          {"usage",
           {{"prompt_tokens", chat_.num_prompt_tokens}, {"completion_tokens", chat_.num_tokens}}}};
      text += "data: " + usage.dump() + "\n\n";
    }
    return text + "data: [DONE]\n\n";
  }

  FakeChat chat_;
  std::mutex mutex_;
  std::vector<nlohmann::json> requests_;
  ScriptedServer server_;
};

}  // namespace sluice::test
