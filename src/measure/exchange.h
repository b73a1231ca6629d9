#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "http/client.h"
#include "measure/chat_wire.h"

// One streamed chat request, timed at the client: what every load generator here is made of.
namespace sluice::measure {

inline double seconds_of(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

// Times are counted from the start of the test, on a steady clock.
struct ExchangeRecord {
  std::chrono::nanoseconds sent{};
  std::chrono::nanoseconds ended{};              // last byte, or the failure
  std::vector<std::chrono::nanoseconds> pieces;  // arrival of each piece of text; TTFT: the first
  bool has_usage = false;  // the server counted the tokens; else num_output_tokens counts pieces
  int num_output_tokens = 0;
  ReplyFigures figures;
  int http_status = 0;         // 0: no reply
  bool was_cancelled = false;  // cut off
  bool has_left = false;       // this client went away before the end, as it was to
  std::string text;            // of the reply, where the query keeps it
  std::string error;           // empty: it succeeded
  std::string failure_kind;    // of an error, in few words: "HTTP 500", "ended early"

  bool is_success() const { return error.empty() && !was_cancelled && !has_left; }
  double total_seconds() const;
  // From sending to the first text; none when no text came.
  std::optional<double> first_token_seconds() const;
  // From the first text to the second; none when only one came.
  std::optional<double> second_token_seconds() const;
  // The mean time between two tokens: from the first text to the last, over the tokens less one;
  // none below two tokens.
  std::optional<double> itl_seconds() const;
};

// Sends the request and reads the reply into the record, times counted from `start`. `on_pieces`
// is told of every arrival and how many pieces of text came with it; when it returns false the
// connection is closed and the record says that we have left. A refusal or a reply that ends
// wrongly is in `record.error`; throws what http::Client and WireReader throw.
void exchange(http::Client& client, Api api, const ChatQuery& query,
              std::chrono::steady_clock::time_point start, ExchangeRecord& record,
              const std::function<bool(int)>& on_pieces);

// How many failed in which way: "2 HTTP 500, 1 ended early"; the most first.
class FailureCounts {
 public:
  void add(const ExchangeRecord& record);  // one that failed
  std::string text() const;
  const std::map<std::string, int>& by_kind() const { return by_kind_; }

 private:
  std::map<std::string, int> by_kind_;
};

// Ends the record with what was thrown; Error(kCancelled) is not a failure but a cancellation.
void record_failure(ExchangeRecord& record, const std::exception& error,
                    std::chrono::nanoseconds now);

}  // namespace sluice::measure
