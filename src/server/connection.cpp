#include "server/connection.h"

#include <algorithm>
#include <boost/asio/write.hpp>

namespace sluice::server {
namespace {

constexpr size_t kWritePiece = 64u << 10;

}  // namespace

net::awaitable<bool> Connection::write(std::string_view data) {
  // Most of the time the kernel takes it all at once.
  error_code ec;
  stream.socket().non_blocking(true, ec);
  if (!ec && !data.empty()) {
    data.remove_prefix(stream.socket().send(net::buffer(data.data(), data.size()), 0, ec));
  }
  if (ec && ec != net::error::would_block) co_return false;
  // The rest in pieces, each with the time-out of its own, and one for all of them.
  const TransportOptions& options = core->options;
  const auto num_timeouts = static_cast<int64_t>(1 + data.size() / options.max_unsent_bytes);
  const auto end = std::chrono::steady_clock::now() + num_timeouts * options.write_timeout;
  while (!data.empty() && !is_closed) {
    stream.expires_at(std::min(end, std::chrono::steady_clock::now() + options.write_timeout));
    const size_t size = std::min(kWritePiece, data.size());
    co_await net::async_write(stream, net::buffer(data.data(), size), into(ec));
    stream.expires_never();
    if (ec) co_return false;
    data.remove_prefix(size);
  }
  co_return !is_closed;
}

net::awaitable<void> Connection::wait_until(std::chrono::steady_clock::time_point when) {
  error_code ec;
  timer.expires_at(when);
  co_await timer.async_wait(into(ec));
}

void Connection::close() {
  is_closed = true;
  error_code ec;
  timer.cancel();
  stream.socket().shutdown(tcp::socket::shutdown_both, ec);
  stream.close();
}

}  // namespace sluice::server
