#pragma once

// The thread sanitizer does not understand fences, and GCC refuses them there. Asio's queues are
// behind mutexes, which order what the fences would.
#if defined(__SANITIZE_THREAD__) && !defined(BOOST_ASIO_DISABLE_FENCED_BLOCK)
#define BOOST_ASIO_DISABLE_FENCED_BLOCK 1
#endif

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "server/http_server.h"

// What the pieces of the transport share: exchange.cpp, session.cpp and http_server.cpp. Included
// by nothing else, as Asio's headers take long to compile.
namespace sluice::server {

namespace net = boost::asio;
using boost::system::error_code;
using tcp = net::ip::tcp;
using Strand = net::strand<net::io_context::executor_type>;

// The completion token of our coroutines: errors go into `ec`, nothing is thrown.
inline net::redirect_error_t<net::use_awaitable_t<>> into(error_code& ec) {
  return net::redirect_error(net::use_awaitable, ec);
}

// Where tasks from other threads enter. Outlives the server for as long as an exchange is held;
// closed by stop(), after which tasks are dropped instead of waiting in a queue that nobody runs.
struct Core {
  net::io_context io;
  std::mutex mutex;
  bool is_open = true;
  std::atomic<size_t> body_bytes = 0;

  template <typename Executor, typename Task>
  void post(const Executor& executor, Task task) {
    std::lock_guard lock(mutex);
    if (is_open) net::post(executor, std::move(task));
  }
};

// Shared by the session that writes and the handles that fill. `mutex` guards what follows it.
struct Exchange::State {
  State(std::shared_ptr<Core> owner, Strand executor)
      : core(std::move(owner)), strand(std::move(executor)) {}
  ~State() { core->body_bytes -= charged_bytes; }

  std::shared_ptr<Core> core;
  Strand strand;
  HttpRequest request;
  bool is_head = false;
  bool is_http10 = false;
  bool keep_alive = true;  // the client's wish; settled when the reply begins
  size_t max_unsent_bytes = 0;
  size_t charged_bytes = 0;  // of Core::body_bytes

  std::mutex mutex;
  Headers headers;
  std::string unsent;
  bool is_begun = false;
  bool is_chunked = false;
  bool is_finished = false;
  bool is_broken = false;        // dropped half-way: the connection must end without a proper end
  bool is_input_closed = false;  // the client closed its side: gone, as a rule
  bool is_gone = false;          // nothing more can be sent
  bool is_wake_posted = false;
  std::function<void()> wake;  // runs on the strand
  std::function<void()> on_disconnect;
  std::function<void()> on_alarm;

  std::optional<net::steady_timer> alarm;  // only touched on the strand

  // With the mutex held.
  void post_wake() {
    if (is_wake_posted || !wake) return;
    is_wake_posted = true;
    core->post(strand, wake);
  }

  // On the strand: the client has left. Tells the holder once. After a mere end of input replies
  // are still written: a client may close its sending side only.
  void leave(bool can_still_read) {
    std::function<void()> callback;
    {
      std::lock_guard lock(mutex);
      is_input_closed = true;
      keep_alive = false;
      if (!can_still_read) {
        is_gone = true;
        unsent.clear();
      }
      if (!is_finished) callback = std::exchange(on_disconnect, nullptr);
    }
    if (callback) callback();
  }
};

}  // namespace sluice::server
