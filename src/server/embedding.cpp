#include "server/embedding.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

#include "base/units.h"
#include "server/reply_writer.h"

namespace sluice::server {
namespace {

using engine::Clock;

// Inputs of one request that are with the engine at a time: enough to fill its steps, and few
// enough to leave others room in the queue.
constexpr size_t kMaxInFlight = 64;

// One request. A preparer tokenizes and submits the first inputs; the engine's thread takes the
// vectors and submits the next ones; a preparer writes the reply. `mutex_` guards what they share.
class Embedding : public std::enable_shared_from_this<Embedding> {
 public:
  Embedding(const GenerationContext& context, std::shared_ptr<Exchange> exchange,
            std::unique_ptr<api::EmbeddingDialect> dialect, api::EmbeddingRequest request,
            SharedRecord record)
      : context_(context),
        exchange_(std::move(exchange)),
        dialect_(std::move(dialect)),
        request_(std::move(request)),
        record_(std::move(record)),
        time_(request_time(context, *exchange_, request_.extensions)) {}

  void start() {
    Admission admission;
    admission.record = record_;
    admission.keep_alive = request_.keep_alive;
    admission.time = time_;
    admission.on_ready = [self = shared_from_this()](Lease lease) {
      self->prepare(std::move(lease));
    };
    admission.on_failure = [self = shared_from_this()](const Error& error) { self->fail(error); };
    admit(context_, exchange_, std::move(admission));
  }

 private:
  struct Input {
    std::vector<text::TokenId> tokens;
    engine::RequestId id = 0;  // once submitted
  };

  // On a preparer's thread.
  void prepare(Lease lease) {
    reply_.load = Clock::now() - time_.arrival;
    lease_ = std::move(lease);
    try {
      const LoadedModel& model = lease_.model();
      context_limit_ = limit_of(model);
      for (const std::string& text : request_.inputs) {
        inputs_.push_back({encode(*model.tokenizer, text), 0});
      }
    } catch (const Error& error) {
      fail(error);
      return;
    } catch (const std::exception& exception) {
      fail(Error(ErrorCode::kInternal, exception.what()));
      return;
    }
    if (reply_.num_dropped_tokens > 0) {
      exchange_->add_header("X-Dropped-Tokens", std::to_string(reply_.num_dropped_tokens));
    }
    reply_.embeddings.resize(inputs_.size());
    num_left_ = inputs_.size() + 1;  // one for this function: no answer before it is through
    for (size_t i = 0; i < inputs_.size(); ++i) unsent_.push_back(i);
    exchange_->on_disconnect([weak = weak_from_this()] {
      if (auto self = weak.lock()) self->fail(Error(ErrorCode::kCancelled, "request canceled"));
    });
    submit_more();
    if (take_one()) answer();
  }

  // True for the last one.
  bool take_one() {
    std::lock_guard lock(mutex_);
    return --num_left_ == 0;
  }

  int limit_of(const LoadedModel& model) const {
    const int num_ctx =
        options_over_model(*record_, request_.options).num_ctx.value_or(context_.default_context);
    return std::min(num_ctx > 0 ? num_ctx : context_.default_context, model.context_length);
  }

  // The tokens of an input, at most the context's; the special ones around it are kept.
  std::vector<text::TokenId> encode(const text::Tokenizer& tokenizer, const std::string& text) {
    text::EncodeOptions options;
    options.add_special = true;
    options.parse_special = false;  // the text is data
    std::vector<text::TokenId> tokens = tokenizer.encode(text, options);
    if (tokens.empty()) {
      // An empty text of a model that puts nothing around it: its start or end is all there is.
      const auto only = tokenizer.bos() ? tokenizer.bos() : tokenizer.eos();
      if (!only) throw Error(ErrorCode::kInvalidArgument, "invalid input: a text is empty");
      tokens.push_back(*only);
    }
    const auto limit = static_cast<size_t>(context_limit_);
    if (tokens.size() <= limit) return tokens;
    if (!request_.truncate) {
      throw Error(ErrorCode::kContextOverflow,
                  "the input length exceeds the context length: " + std::to_string(tokens.size()) +
                      " tokens, and the context holds " + std::to_string(limit));
    }
    const text::TokenId last = tokens.back();
    reply_.num_dropped_tokens += static_cast<int>(tokens.size() - limit);
    tokens.resize(limit);
    if (tokenizer.eos() == last) tokens.back() = last;
    return tokens;
  }

  // From any thread: keeps up to kMaxInFlight inputs with the engine.
  void submit_more() {
    while (true) {
      size_t index = 0;
      Lease lease;
      {
        std::lock_guard lock(mutex_);
        if (is_over_ || unsent_.empty() || num_in_flight_ >= kMaxInFlight) return;
        index = unsent_.front();
        unsent_.pop_front();
        ++num_in_flight_;
        lease = lease_;
      }
      if (!submit(*lease.model().engine, index)) return;
    }
  }

  // False when there is no room now, or it failed.
  bool submit(engine::Engine& engine, size_t index) {
    engine::Request request;
    request.task = engine::Task::kEmbed;
    request.prompt = inputs_[index].tokens;
    request.context_limit = context_limit_;
    request.deadline = time_.deadline();
    request.on_event = [self = shared_from_this(), index](const engine::Event& event) {
      self->on_event(index, event);
    };
    engine::Engine::Ticket ticket;
    try {
      ticket = engine.submit(std::move(request));
    } catch (const Error& error) {
      {
        std::lock_guard lock(mutex_);
        --num_in_flight_;
        if (error.code() == ErrorCode::kBusy && num_in_flight_ > 0) {
          unsent_.push_front(index);  // its turn comes when one of the others is done
          return false;
        }
      }
      if (error.code() == ErrorCode::kBusy) {
        const Refusal refusal = make_refusal(error, engine.stats());
        fail(refusal.error, refusal.retry_after_seconds);
      } else {
        fail(error);
      }
      return false;
    }
    std::lock_guard lock(mutex_);
    inputs_[index].id = ticket.id;
    if (!std::exchange(has_queue_headers_, true)) add_queue_headers(*exchange_, ticket.place);
    if (is_over_) engine.cancel(ticket.id);
    return true;
  }

  // On the engine's thread.
  void on_event(size_t index, const engine::Event& event) {
    if (!event.is_final) return;
    if (event.reason != engine::FinishReason::kEmbedded) {
      fail(error_of(event));
      return;
    }
    {
      std::lock_guard lock(mutex_);
      if (is_over_) return;
      reply_.embeddings[index] = event.embedding;
      reply_.num_prompt_tokens += event.num_prompt_tokens;
      reply_.num_cached_tokens += event.num_cached_tokens;
      inputs_[index] = {};
      --num_in_flight_;
    }
    if (take_one()) {
      context_.preparers.post([self = shared_from_this()] { self->answer(); });
    } else {
      submit_more();
    }
  }

  Error error_of(const engine::Event& event) const {
    if (event.reason == engine::FinishReason::kDeadline) {
      return time_.expired("the inputs were still being computed");
    }
    if (event.reason == engine::FinishReason::kError) {
      return Error(ErrorCode::kInternal,
                   "an error was encountered while running the model: " + event.error);
    }
    return Error(ErrorCode::kCancelled, "request canceled");
  }

  // On a preparer's thread, as there may be much to write.
  void answer() {
    if (!take_end()) return;
    try {
      for (auto& embedding : reply_.embeddings) {
        api::shorten_embedding(embedding, request_.dimensions);
      }
      reply_.total = Clock::now() - time_.arrival;
      exchange_->respond(
          Reply{200, "application/json; charset=utf-8", dialect_->whole(reply_), {}});
      spdlog::info("{}: {} embeddings of {} tokens, {}", request_.model, reply_.embeddings.size(),
                   reply_.num_prompt_tokens, format_go_duration(reply_.total));
    } catch (const Error& error) {
      respond_error(error, 1);
    } catch (const std::exception& exception) {
      respond_error(Error(ErrorCode::kInternal, exception.what()), 1);
    }
    release();
  }

  void release() {
    std::lock_guard lock(mutex_);
    lease_.release();
  }

  // On any thread; the first failure counts.
  void fail(const Error& error, int retry_after_seconds = 1) {
    if (!take_end()) return;
    respond_error(error, retry_after_seconds);
    release();
  }

  void respond_error(const Error& error, int retry_after_seconds) {
    spdlog::info("{}: {}", request_.model, error.what());
    const auto error_body = [this](int status, std::string_view message) {
      return dialect_->error_body(status, message);
    };
    exchange_->respond(error_reply_for(error, error_body, retry_after_seconds));
  }

  // True for the one who may answer, and release the model then: nothing is computed any longer.
  bool take_end() {
    {
      std::lock_guard lock(mutex_);
      if (std::exchange(is_over_, true)) return false;
      for (const Input& input : inputs_) {
        if (input.id != 0) lease_.model().engine->cancel(input.id);
      }
    }
    exchange_->on_disconnect(nullptr);
    return true;
  }

  const GenerationContext context_;
  const std::shared_ptr<Exchange> exchange_;
  const std::unique_ptr<api::EmbeddingDialect> dialect_;
  const api::EmbeddingRequest request_;
  const SharedRecord record_;
  const RequestTime time_;
  int context_limit_ = 0;

  std::mutex mutex_;  // guards what follows, once the first input is submitted
  Lease lease_;
  api::EmbeddingReply reply_;
  std::vector<Input> inputs_;
  std::deque<size_t> unsent_;  // indices of inputs
  size_t num_in_flight_ = 0;
  size_t num_left_ = 0;
  bool has_queue_headers_ = false;
  bool is_over_ = false;
};

}  // namespace

void start_embedding(const GenerationContext& context, std::shared_ptr<Exchange> exchange,
                     std::unique_ptr<api::EmbeddingDialect> dialect,
                     api::EmbeddingRequest request) {
  SharedRecord record;
  try {
    record = context.catalog.get(request.model);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound || request.model.empty()) throw;
    throw Error(ErrorCode::kNotFound,
                "model \"" + request.model + "\" not found, try pulling it first");
  }
  std::make_shared<Embedding>(context, std::move(exchange), std::move(dialect), std::move(request),
                              std::move(record))
      ->start();
}

}  // namespace sluice::server
