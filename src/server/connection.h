#pragma once

// The thread sanitizer does not understand fences, and GCC refuses them there. Asio's queues are
// behind mutexes, which order what the fences would.
#if defined(__SANITIZE_THREAD__) && !defined(BOOST_ASIO_DISABLE_FENCED_BLOCK)
#define BOOST_ASIO_DISABLE_FENCED_BLOCK 1
#endif

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>

#include "server/byte_budget.h"
#include "server/transport_options.h"

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

// Where tasks from other threads enter. Outlives the server for as long as a Waker is held; closed
// by stop(), after which tasks are dropped instead of waiting in a queue that nobody runs.
struct Core {
  explicit Core(const TransportOptions& transport)
      : options(transport), bodies(options.max_bodies_bytes), replies(options.max_replies_bytes) {}

  const TransportOptions options;
  ByteBudget bodies;
  ByteBudget replies;
  net::io_context io;
  std::mutex mutex;
  bool is_open = true;

  template <typename Executor, typename Task>
  void post(const Executor& executor, Task task) {
    std::lock_guard lock(mutex);
    if (is_open) net::post(executor, std::move(task));
  }
};

// A socket and what its session and exchange need to wait. Everything runs on its strand.
struct Connection {
  Connection(std::shared_ptr<Core> owner, tcp::socket socket, Strand executor)
      : core(std::move(owner)),
        strand(std::move(executor)),
        stream(std::move(socket)),
        timer(strand) {}

  // False when the connection is broken, or the client is too slow: 64 KiB took longer than
  // write_timeout, or each max_unsent_bytes did on the whole.
  net::awaitable<bool> write(std::string_view data);
  // Until signal(), or that moment; may also return early.
  net::awaitable<void> wait_until(std::chrono::steady_clock::time_point when);
  void signal() { timer.cancel(); }
  void close();  // ends every read, write and wait

  const std::shared_ptr<Core> core;
  const Strand strand;
  boost::beast::tcp_stream stream;
  net::steady_timer timer;
  bool is_closed = false;
};

}  // namespace sluice::server
