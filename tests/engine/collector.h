#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/request.h"

namespace sluice::engine {

// Gathers the events of one request.
class Collector {
 public:
  std::function<void(const Event&)> callback() {
    return [state = state_](const Event& event) { state->take(event); };
  }

  // Waits for the final event.
  Event wait() {
    std::unique_lock lock(state_->mutex);
    const auto is_done = [this] { return state_->num_final > 0; };
    if (!state_->changed.wait_for(lock, std::chrono::seconds(60), is_done)) {
      throw std::runtime_error("no final event within a minute");
    }
    return state_->final_event;
  }
  void wait_for_text() {
    std::unique_lock lock(state_->mutex);
    const auto has_text = [this] { return !state_->text.empty(); };
    if (!state_->changed.wait_for(lock, std::chrono::seconds(60), has_text)) {
      throw std::runtime_error("no text within a minute");
    }
  }
  void wait_for_text_or_end() {
    std::unique_lock lock(state_->mutex);
    const auto is_there = [this] { return !state_->text.empty() || state_->num_final > 0; };
    if (!state_->changed.wait_for(lock, std::chrono::seconds(60), is_there)) {
      throw std::runtime_error("no text within a minute");
    }
  }
  std::string text() const {
    std::lock_guard lock(state_->mutex);
    return state_->text;
  }
  std::vector<OutputToken> tokens() const {
    std::lock_guard lock(state_->mutex);
    return state_->tokens;
  }
  std::vector<std::string> pieces() const {
    std::lock_guard lock(state_->mutex);
    return state_->pieces;
  }
  int num_final() const {
    std::lock_guard lock(state_->mutex);
    return state_->num_final;
  }
  bool had_event_after_final() const {
    std::lock_guard lock(state_->mutex);
    return state_->had_event_after_final;
  }

 private:
  struct State {
    void take(const Event& event) {
      std::lock_guard lock(mutex);
      had_event_after_final |= num_final > 0;
      text += event.text;
      if (!event.text.empty()) pieces.push_back(event.text);
      tokens.insert(tokens.end(), event.tokens.begin(), event.tokens.end());
      if (event.is_final) {
        ++num_final;
        final_event = event;
      }
      changed.notify_all();
    }
    mutable std::mutex mutex;
    std::condition_variable changed;
    std::string text;
    std::vector<std::string> pieces;
    std::vector<OutputToken> tokens;
    Event final_event;
    int num_final = 0;
    bool had_event_after_final = false;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace sluice::engine
