#include "server/embedding.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "base/units.h"
#include "keys/gatekeeper.h"
#include "server/event_stream.h"
#include "server/model_request.h"
#include "server/model_wait.h"
#include "server/prompt.h"
#include "server/reply_writer.h"

namespace sluice::server {
namespace {

using engine::Clock;

// Inputs of one request that are with the engine at a time: enough to fill its steps, and few
// enough to leave others room in the queue.
constexpr size_t kMaxInFlight = 64;
constexpr size_t kLongestModelName = 300;                        // in the journal
constexpr size_t kNoBound = std::numeric_limits<size_t>::max();  // but that one

struct Limits {
  int context = 0;
  bool truncate = true;
};

// The tokens of an input, at most the context's; the special ones around a text are kept. Counts
// those left out.
std::vector<text::TokenId> encode(const text::Tokenizer& tokenizer, api::TextOrTokens input,
                                  const Limits& limits, Work& work, int& num_dropped_tokens) {
  text::EncodeOptions options;
  options.add_special = true;
  options.parse_special = false;  // the text is data
  std::vector<text::TokenId> tokens;
  size_t num_special = 0;
  if (auto* ids = std::get_if<std::vector<text::TokenId>>(&input)) {
    check_token_ids(tokenizer, *ids, "input");
    tokens = std::move(*ids);
  } else {
    tokens = tokenizer.encode(std::get<std::string>(input), options, work);
    num_special = tokenizer.encode("", options).size();
  }
  if (tokens.empty()) {
    // An empty text of a model that puts nothing around it: its start or end is all there is.
    const auto only = tokenizer.bos() ? tokenizer.bos() : tokenizer.eos();
    if (!only) throw Error(ErrorCode::kInvalidArgument, "invalid input: a text is empty");
    tokens.push_back(*only);
  }
  const auto limit = static_cast<size_t>(limits.context);
  if (tokens.size() <= limit) return tokens;
  if (!limits.truncate) {
    throw Error(ErrorCode::kContextOverflow,
                "the input length exceeds the context length: " + std::to_string(tokens.size()) +
                    " tokens, and the context holds " + std::to_string(limit));
  }
  if (limit <= num_special) {
    throw Error(ErrorCode::kContextOverflow,
                "input after truncation exceeds maximum context length");
  }
  const text::TokenId last = tokens.back();
  num_dropped_tokens += static_cast<int>(tokens.size() - limit);
  tokens.resize(limit);
  if (tokenizer.eos() == last) tokens.back() = last;
  return tokens;
}

// One request for embeddings, on its way from the body to the last byte: answer() is the way.
class Embedding {
 public:
  Embedding(const ServerContext& context, Exchange& exchange, api::EmbeddingDialect& dialect)
      : context_(context), exchange_(exchange), dialect_(dialect) {}

  Awaitable<void> answer() {
    std::optional<Failure> failure;
    try {
      co_await prepare();
      co_await run();
      co_await finish();
    } catch (...) {
      failure = failure_of(std::current_exception());
    }
    const auto& visit = exchange_.request().client.visit;
    if (visit && num_submitted_tokens_ > 0) visit->count_tokens(num_submitted_tokens_, 0);
    if (!failure) co_return;
    exchange_.life().set_error(failure->message);
    lease_.release();
    co_await exchange_.respond(error_reply_for(exchange_, *failure));
  }

 private:
  Awaitable<void> prepare() {
    const size_t body_bytes = exchange_.request().body.size();
    auto parse = [&](std::string_view body, Work& work) { return dialect_.parse(body, work); };
    request_ = co_await parse_body(context_, exchange_, parse);
    take_headers(context_, exchange_, request_.extensions);
    exchange_.life().model = request_.model.substr(0, kLongestModelName);
    context_.journal.set_model(exchange_.life().number, exchange_.life().model);
    auto look_up = [&](Work&) { return find(request_.model); };
    const SharedRecord record = co_await on_worker(context_.workers.disk, exchange_, look_up);

    const std::function<void(double)> tell_load = [](double) {};
    lease_ = co_await acquire_model(context_.models, exchange_, record, request_.keep_alive,
                                    request_.options, tell_load);
    reply_.load = Clock::now() - exchange_.request().arrival;
    exchange_.life().load = reply_.load;
    exchange_.life().backend = lease_.model().backend_description;
    exchange_.set_stage("its inputs were about to be prepared");

    const LoadedModel& model = lease_.model();
    limits_.context = context_limit(context_, api::merge_options(record->options, request_.options),
                                    model.context_length);
    limits_.truncate = request_.truncate;
    auto make_inputs = [&](Work& work) {
      std::vector<api::TextOrTokens> inputs = std::move(request_.inputs);
      for (api::TextOrTokens& input : inputs) {
        inputs_.push_back(
            encode(*model.tokenizer, std::move(input), limits_, work, reply_.num_dropped_tokens));
      }
      return true;
    };
    WorkerPool& preparer = context_.workers.preparer(body_bytes);
    co_await on_worker(preparer, exchange_, make_inputs);
    exchange_.charge_body(0);
    if (reply_.num_dropped_tokens > 0) {
      exchange_.add_header("X-Dropped-Tokens", std::to_string(reply_.num_dropped_tokens));
    }
  }

  // With the words that this endpoint's clients know.
  SharedRecord find(const std::string& name) const {
    try {
      return context_.catalog.get(name);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNotFound || name.empty()) throw;
      throw Error(ErrorCode::kNotFound, "model \"" + name + "\" not found, try pulling it first");
    }
  }

  // Keeps up to kMaxInFlight inputs with the engine until all vectors are there.
  Awaitable<void> run() {
    deadline_ = exchange_.deadline();
    exchange_.leave_deadline_to_engine();
    exchange_.set_stage("the inputs were still being computed");
    reply_.embeddings.resize(inputs_.size());
    EventStream events(*lease_.model().engine, exchange_, kNoBound);
    size_t num_submitted = 0;
    size_t num_done = 0;
    while (num_done < inputs_.size()) {
      while (num_submitted < inputs_.size() && num_submitted - num_done < kMaxInFlight) {
        if (!submit(events, num_submitted, num_submitted > num_done)) break;
        ++num_submitted;
      }
      EventStream::Tagged next = co_await events.next();
      if (!next.event.is_final) continue;
      take(next.tag, std::move(next.event));
      ++num_done;
    }
    lease_.release();
  }

  // False when the queue is full, but others of this request are in it: its turn comes when one of
  // them is done.
  bool submit(EventStream& events, size_t index, bool others_run) {
    engine::Engine& engine = *lease_.model().engine;
    engine::Request request;
    request.task = engine::Task::kEmbed;
    request.arrival = exchange_.request().arrival;
    request.tag = exchange_.life().number;
    request.context_limit = limits_.context;
    request.deadline = deadline_;
    request.prompt = inputs_[index];
    try {
      const engine::QueuePlace place = events.submit(std::move(request), index);
      num_submitted_tokens_ += static_cast<int64_t>(inputs_[index].size());
      if (index == 0) {
        add_queue_headers(exchange_, place);
        RequestLife& life = exchange_.life();
        life.queue_position = place.position;
        life.prepare = Clock::now() - exchange_.request().arrival - reply_.load;
      }
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kBusy) throw;
      if (!others_run) refuse(exchange_, engine, error);
      return false;
    }
    inputs_[index] = {};
    return true;
  }

  void take(size_t index, engine::Event event) {
    exchange_.life().add_part(event);
    if (event.reason == engine::FinishReason::kDeadline) throw exchange_.expired();
    if (event.reason == engine::FinishReason::kError) {
      throw Error(ErrorCode::kInternal,
                  "an error was encountered while running the model: " + event.error);
    }
    if (event.reason != engine::FinishReason::kEmbedded) {
      throw Error(ErrorCode::kCancelled, "request canceled");
    }
    reply_.embeddings[index] = std::move(event.embedding);
    reply_.num_prompt_tokens += event.num_prompt_tokens;
    reply_.num_cached_tokens += event.num_cached_tokens;
  }

  // On a worker, as there may be much to write.
  Awaitable<void> finish() {
    auto encode_reply = [&](Work&) {
      for (auto& embedding : reply_.embeddings) {
        api::shorten_embedding(embedding, request_.dimensions);
      }
      reply_.total = Clock::now() - exchange_.request().arrival;
      return dialect_.whole(reply_);
    };
    std::string body = co_await on_worker(context_.workers.prepare, exchange_, encode_reply);
    reply_.embeddings = {};
    co_await exchange_.respond(json_reply(std::move(body)));
  }

  const ServerContext& context_;
  Exchange& exchange_;
  api::EmbeddingDialect& dialect_;
  api::EmbeddingRequest request_;
  Lease lease_;
  Limits limits_;
  std::optional<Clock::time_point> deadline_;
  std::vector<std::vector<text::TokenId>> inputs_;  // empty once submitted
  int64_t num_submitted_tokens_ = 0;
  api::EmbeddingReply reply_;
};

}  // namespace

Awaitable<void> answer_embedding(const ServerContext& context, Exchange& exchange,
                                 api::MakeEmbeddingDialect make_dialect) {
  const std::unique_ptr<api::EmbeddingDialect> dialect = make_dialect();
  Embedding embedding(context, exchange, *dialect);
  co_await embedding.answer();
}

}  // namespace sluice::server
