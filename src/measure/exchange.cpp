#include "measure/exchange.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/error.h"

namespace sluice::measure {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

double ExchangeRecord::total_seconds() const {
  return std::chrono::duration<double>(ended - sent).count();
}

std::optional<double> ExchangeRecord::first_token_seconds() const {
  if (pieces.empty()) return std::nullopt;
  return std::chrono::duration<double>(pieces.front() - sent).count();
}

std::optional<double> ExchangeRecord::second_token_seconds() const {
  if (pieces.size() < 2) return std::nullopt;
  return std::chrono::duration<double>(pieces[1] - pieces[0]).count();
}

std::optional<double> ExchangeRecord::itl_seconds() const {
  if (pieces.empty() || num_output_tokens < 2) return std::nullopt;
  return std::chrono::duration<double>(pieces.back() - pieces.front()).count() /
         (num_output_tokens - 1);
}

void exchange(http::Client& client, Api api, const ChatQuery& query, Clock::time_point start,
              ExchangeRecord& record, const std::function<bool(int)>& on_pieces) {
  const http::Request request = make_chat_request(api, query);
  WireReader reader(api, query.keeps_text);
  record.sent = Clock::now() - start;
  const auto take = [&](nanoseconds time, int num_pieces) {
    record.pieces.insert(record.pieces.end(), static_cast<size_t>(num_pieces), time);
    return on_pieces(num_pieces);
  };
  const http::Response response = client.stream(request, [&](std::string_view bytes) {
    const nanoseconds time = Clock::now() - start;
    const bool goes_on = take(time, reader.feed(bytes));
    record.has_left = !goes_on && !reader.is_complete();
    return !record.has_left;
  });
  record.ended = Clock::now() - start;
  if (!record.has_left) take(record.ended, reader.finish());
  record.http_status = response.status;
  record.figures = reader.figures();
  record.has_usage = record.figures.num_output_tokens >= 0;
  record.num_output_tokens =
      record.has_usage ? record.figures.num_output_tokens : static_cast<int>(record.pieces.size());
  record.text = reader.text();
  if (record.has_left) return;
  if (response.status < 200 || response.status > 299) {
    record.failure_kind = "HTTP " + std::to_string(response.status);
    record.error = record.failure_kind + ": " + error_text_of(response.body);
  } else if (!record.figures.error.empty()) {
    record.failure_kind = "error in the reply";
    record.error = record.figures.error;
  } else if (!reader.is_complete()) {
    record.failure_kind = "ended early";
    record.error = "the reply ended without its final message";
  }
}

namespace {

std::string kind_of(const ExchangeRecord& record, const Error* error) {
  if (error == nullptr) return "in the client";
  switch (error->code()) {
    case ErrorCode::kDeadlineExceeded:
      return "silent for too long";
    case ErrorCode::kCorruptData:
      return "not understood";
    case ErrorCode::kIo:
      return record.pieces.empty() ? "no reply" : "ended early";
    default:
      return "other";
  }
}

}  // namespace

void record_failure(ExchangeRecord& record, const std::exception& error, nanoseconds now) {
  record.ended = now;
  const auto* own = dynamic_cast<const Error*>(&error);
  record.was_cancelled = own != nullptr && own->code() == ErrorCode::kCancelled;
  const bool is_out_of_memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
  record.error = is_out_of_memory ? "not enough memory for the client" : error.what();
  record.failure_kind = kind_of(record, own);
}

void FailureCounts::add(const ExchangeRecord& record) {
  ++by_kind_[record.failure_kind.empty() ? "other" : record.failure_kind];
}

std::string FailureCounts::text() const {
  std::vector<std::pair<int, std::string>> order;
  for (const auto& [kind, count] : by_kind_) order.emplace_back(-count, kind);
  std::sort(order.begin(), order.end());
  std::string text;
  for (const auto& [negative, kind] : order) {
    text += (text.empty() ? "" : ", ") + std::to_string(-negative) + " " + kind;
  }
  return text;
}

}  // namespace sluice::measure
