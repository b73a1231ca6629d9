#include <boost/asio/bind_executor.hpp>
#include <utility>

#include "server/http_message.h"
#include "server/transport.h"

namespace sluice::server {

Exchange::Exchange(std::shared_ptr<State> state) : state_(std::move(state)) {}

Exchange::~Exchange() {
  bool must_answer = false;
  {
    std::lock_guard lock(state_->mutex);
    if (state_->is_finished) return;
    must_answer = !state_->is_begun;
    if (!must_answer) {
      state_->is_broken = true;
      state_->post_wake();
    }
  }
  if (must_answer) respond(error_reply(500, "the request was dropped: a bug of the server"));
}

const HttpRequest& Exchange::request() const { return state_->request; }
std::string Exchange::take_body() { return std::move(state_->request.body); }

void Exchange::add_header(std::string name, std::string value) {
  std::lock_guard lock(state_->mutex);
  state_->headers.emplace_back(std::move(name), std::move(value));
}

void Exchange::respond(Reply reply) {
  std::lock_guard lock(state_->mutex);
  if (state_->is_begun) return;
  state_->is_begun = true;
  state_->is_finished = true;
  for (auto& header : reply.headers) state_->headers.push_back(std::move(header));
  ReplyHead head;
  head.status = reply.status;
  head.content_type = reply.content_type;
  if (reply.status != 204) head.content_length = reply.body.size();
  head.keep_alive = state_->keep_alive;
  head.headers = &state_->headers;
  state_->unsent = format_head(head);
  if (!state_->is_head) state_->unsent += reply.body;
  state_->post_wake();
}

void Exchange::begin(int status, std::string_view content_type) {
  std::lock_guard lock(state_->mutex);
  if (state_->is_begun) return;
  state_->is_begun = true;
  state_->is_chunked = !state_->is_http10;
  if (!state_->is_chunked) state_->keep_alive = false;
  ReplyHead head;
  head.status = status;
  head.content_type = content_type;
  head.is_chunked = state_->is_chunked;
  head.keep_alive = state_->keep_alive;
  head.headers = &state_->headers;
  state_->unsent = format_head(head);
  state_->post_wake();
}

bool Exchange::write(std::string_view data) {
  {
    std::lock_guard lock(state_->mutex);
    if (state_->is_gone) return false;
    if (data.empty() || state_->is_head) return true;
    if (state_->unsent.size() + data.size() <= state_->max_unsent_bytes || state_->unsent.empty()) {
      if (state_->is_chunked) {
        append_chunk(state_->unsent, data);
      } else {
        state_->unsent += data;
      }
      state_->post_wake();
      return true;
    }
    state_->is_broken = true;
    state_->post_wake();
  }
  post([state = state_] { state->leave(false); });
  return false;
}

void Exchange::end() {
  std::lock_guard lock(state_->mutex);
  if (state_->is_finished) return;
  state_->is_finished = true;
  if (state_->is_chunked && !state_->is_head && !state_->is_gone) state_->unsent += "0\r\n\r\n";
  state_->post_wake();
}

bool Exchange::is_disconnected() const {
  std::lock_guard lock(state_->mutex);
  return state_->is_gone || state_->is_input_closed;
}

void Exchange::on_disconnect(std::function<void()> callback) {
  {
    std::lock_guard lock(state_->mutex);
    if (!state_->is_gone && !state_->is_input_closed) {
      state_->on_disconnect = std::move(callback);
      return;
    }
  }
  if (callback) post(std::move(callback));
}

void Exchange::set_alarm(std::chrono::steady_clock::time_point when,
                         std::function<void()> callback) {
  const bool is_set = callback != nullptr;
  {
    std::lock_guard lock(state_->mutex);
    state_->on_alarm = std::move(callback);
  }
  post([weak = std::weak_ptr(state_), when, is_set] {
    const auto state = weak.lock();
    if (!state) return;
    state->alarm.reset();
    if (!is_set) return;
    state->alarm.emplace(state->core->io, when);
    state->alarm->async_wait(net::bind_executor(state->strand, [weak](error_code ec) {
      const auto own = weak.lock();
      if (ec || !own) return;
      std::function<void()> due;
      {
        std::lock_guard lock(own->mutex);
        due = std::exchange(own->on_alarm, nullptr);
      }
      if (due) due();
    }));
  });
}

void Exchange::post(std::function<void()> task) {
  state_->core->post(state_->strand, std::move(task));
}

}  // namespace sluice::server
