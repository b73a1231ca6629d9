#include "server/generation.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "base/units.h"
#include "server/prompt.h"

namespace sluice::server {
namespace {

using engine::Clock;

// One generation. Three threads meet here, one after the other as a rule: a preparer starts it, the
// engine's thread queues events, the connection's thread writes. `mutex_` guards what they share;
// the writer belongs to the connection's thread. Lives as long as the engine, the exchange or a
// task refers to it.
class Generation : public std::enable_shared_from_this<Generation> {
  // What the client said, dropped once it has become a prompt: thousands may wait behind that.
  struct Asked {
    api::GenerationRequest request;
    SharedRecord record;
  };

 public:
  Generation(const GenerationContext& context, std::shared_ptr<Exchange> exchange,
             std::unique_ptr<api::Dialect> dialect, api::GenerationRequest request,
             SharedRecord record)
      : context_(context),
        exchange_(std::move(exchange)),
        model_name_(request.model),
        wants_context_(request.wants_context),
        num_top_logprobs_(request.num_top_logprobs),
        time_(request_time(context, *exchange_, request.extensions)),
        writer_(exchange_, std::move(dialect), request),
        asked_(std::make_unique<Asked>(Asked{std::move(request), std::move(record)})) {}

  void start() {
    Admission admission;
    admission.record = asked_->record;
    admission.keep_alive = asked_->request.keep_alive;
    admission.time = time_;
    admission.on_ready = [self = shared_from_this()](Lease lease) {
      self->prepare(std::move(lease));
    };
    admission.on_failure = [self = shared_from_this()](const Error& error) { self->fail(error); };
    if (asked_->request.stream && asked_->request.extensions.wants_queue_events) {
      admission.on_progress = [self = shared_from_this()](double fraction) {
        self->exchange_->post([self, fraction] {
          self->writer_.write_waiting({.is_loading = true, .load_progress = fraction, .place = {}});
        });
      };
    }
    admit(context_, exchange_, std::move(admission));
  }

 private:
  // On a preparer's thread.
  void prepare(Lease lease) {
    load_ = Clock::now() - time_.arrival;
    lease_ = std::move(lease);
    try {
      const std::unique_ptr<Asked> asked = std::move(asked_);
      if (asked->request.is_load_only) {
        answer(writer_.dialect().loaded("load", load_));
        return;
      }
      submit(*asked);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kBusy) {
        const Refusal refusal = make_refusal(error, lease_.model().engine->stats());
        fail(refusal.error, refusal.retry_after_seconds);
      } else {
        fail(error);
      }
    } catch (const std::bad_alloc&) {
      fail(Error(ErrorCode::kOutOfMemory, "not enough memory for this request"));
    } catch (const std::exception& exception) {
      fail(Error(ErrorCode::kInternal, exception.what()));
    }
  }

  // One object and no generation.
  void answer(std::string object) {
    exchange_->post([self = shared_from_this(), object = std::move(object)]() mutable {
      self->writer_.finish_with(std::move(object));
      self->close();
    });
  }

  engine::Request make_request(const LoadedModel& model, const Asked& asked) const {
    const api::GenerationRequest& wanted = asked.request;
    const api::ModelOptions options = options_over_model(*asked.record, wanted.options);
    engine::Request request;
    api::apply_options(options, request);
    if (request.context_limit <= 0) request.context_limit = context_.default_context;
    if (request.context_limit > model.context_length) {
      if (options.num_ctx) {
        spdlog::warn("num_ctx {} is more than {} can have: {}", *options.num_ctx, model_name_,
                     model.context_length);
      }
      request.context_limit = model.context_length;
    }
    request.num_keep = std::min(request.num_keep, request.context_limit);
    request.shift = wanted.shift;
    if (wanted.extensions.speculate) request.speculate = wanted.extensions.speculate;
    request.deadline = time_.deadline();
    request.wants_queue_events = wanted.stream && wanted.extensions.wants_queue_events;
    request.ignore_end_of_sequence = wanted.extensions.ignore_end;
    request.num_top_logprobs = num_top_logprobs_;
    return request;
  }

  void submit(const Asked& asked) {
    LoadedModel& model = lease_.model();
    // Before the work: under overload most are refused.
    if (!asked.request.debug_render_only) model.engine->require_room();
    engine::Request request = make_request(model, asked);
    Work work;
    PreparedPrompt prompt = prepare_prompt(model, *asked.record, asked.request,
                                           {request.context_limit, request.num_keep}, work);
    num_dropped_tokens_ = prompt.num_dropped_tokens;
    if (num_dropped_tokens_ > 0) {
      exchange_->add_header("X-Dropped-Tokens", std::to_string(num_dropped_tokens_));
      spdlog::warn("{}: {} tokens of the prompt dropped, it is longer than {}", model_name_,
                   num_dropped_tokens_, request.context_limit);
    }
    if (asked.request.debug_render_only) {
      answer(writer_.dialect().rendered(prompt.text));
      return;
    }
    const auto bos = model.tokenizer->bos();
    const bool has_bos = bos && !prompt.tokens.empty() && prompt.tokens.front() == *bos;
    if (has_bos && request.num_keep >= 0) ++request.num_keep;
    if (wants_context_) context_ids_ = prompt.tokens;
    writer_.set_num_prompt_tokens(static_cast<int>(prompt.tokens.size()));
    request.prompt = std::move(prompt.tokens);
    request.prompt.shrink_to_fit();  // it may wait for long
    request.on_event = [self = shared_from_this()](const engine::Event& event) {
      self->on_event(event);
    };
    run(*model.engine, std::move(request));
  }

  void run(engine::Engine& engine, engine::Request request) {
    exchange_->on_disconnect([weak = weak_from_this()] {
      if (auto self = weak.lock()) self->cancel();
    });
    if (exchange_->is_disconnected()) throw Error(ErrorCode::kCancelled, "request canceled");
    const bool wants_queue_events = request.wants_queue_events;
    const engine::Engine::Ticket ticket = engine.submit(std::move(request));
    // Before any event is written, so that it is in the head of the reply.
    add_queue_headers(*exchange_, ticket.place);
    bool must_post = false;
    {
      std::lock_guard lock(mutex_);
      id_ = ticket.id;
      ticket_place_ = ticket.place;
      last_place_ = ticket.place;
      if (wants_queue_events && ticket.place.position > 0) {
        engine::Event first;
        first.queue_place = ticket.place;
        events_.insert(events_.begin(), std::move(first));
      }
      must_post = !events_.empty();
    }
    if (must_post) post_events();
    // Under the mutex, as the engine may be gone as soon as the reply is over.
    std::lock_guard lock(mutex_);
    if (is_cancelled_ && !is_over_) engine.cancel(ticket.id);
  }

  // On the connection's thread.
  void cancel() {
    std::lock_guard lock(mutex_);
    is_cancelled_ = true;
    if (id_ != 0 && !is_over_) lease_.model().engine->cancel(id_);
  }

  // On the engine's thread: only queues.
  void on_event(const engine::Event& event) {
    bool must_post = false;
    {
      std::lock_guard lock(mutex_);
      must_post = events_.empty() && id_ != 0;
      events_.push_back(event);
    }
    if (must_post) post_events();
  }

  void post_events() {
    exchange_->post([self = shared_from_this()] { self->write_events(); });
  }

  // On the connection's thread.
  void write_events() {
    std::vector<engine::Event> events;
    {
      std::lock_guard lock(mutex_);
      events.swap(events_);
    }
    for (const engine::Event& event : events) write_event(event);
  }

  void write_event(const engine::Event& event) {
    if (event.queue_place) {
      last_place_ = *event.queue_place;
      writer_.write_waiting({.is_loading = false, .load_progress = 0, .place = last_place_});
      return;
    }
    for (const engine::OutputToken& output : event.tokens) {
      if (wants_context_) context_ids_.push_back(output.token);
    }
    api::ReplyPiece piece;
    piece.content = event.text;
    if (num_top_logprobs_ >= 0) {
      piece.logprobs = api::to_logprobs(event.tokens, *lease_.model().tokenizer);
    }
    if (!piece.content.empty() || !piece.logprobs.empty()) {
      if (!writer_.write_piece(std::move(piece))) cancel();
    }
    if (event.is_final) finish(event);
  }

  // Where a request was that got nothing before its time was over.
  Error expired(const engine::Event& event) const {
    const std::string load = "after " + format_go_duration(load_) + " until the model was there";
    if (event.timings.prefill == std::chrono::nanoseconds::zero()) {
      const std::string place =
          last_place_.position > 0 ? " (place " + std::to_string(last_place_.position) + ")" : "";
      return time_.expired("it was still in the queue" + place + ", " + load);
    }
    return time_.expired("its prompt of " + std::to_string(event.num_prompt_tokens) +
                         " tokens was being computed, " + load + " and " +
                         format_go_duration(event.timings.queued) + " in the queue");
  }

  void finish(const engine::Event& event) {
    if (event.reason == engine::FinishReason::kError) {
      fail(Error(ErrorCode::kInternal,
                 "an error was encountered while running the model: " + event.error));
      return;
    }
    if (event.reason == engine::FinishReason::kDeadline && event.num_output_tokens == 0) {
      fail(expired(event));
      return;
    }
    api::ReplyEnd end = api::reply_end(event);
    end.total = Clock::now() - time_.arrival;
    end.load = load_;
    end.num_dropped_tokens = num_dropped_tokens_;
    end.queue_position = ticket_place_.position;
    end.context = std::move(context_ids_);
    writer_.finish(end);
    spdlog::info("{}: {} prompt tokens ({} cached), {} reply tokens, {}, {}", model_name_,
                 event.num_prompt_tokens, event.num_cached_tokens, event.num_output_tokens,
                 engine::finish_reason_name(event.reason), format_go_duration(end.total));
    close();
  }

  // On any thread.
  void fail(const Error& error, int retry_after_seconds = 1) {
    spdlog::info("{}: {}", model_name_, error.what());
    // Its parts, as threads that share an exception share a text that TSan cannot see through.
    exchange_->post([self = shared_from_this(), code = error.code(),
                     message = std::string(error.what()), retry_after_seconds] {
      self->writer_.fail(Error(code, message), retry_after_seconds);
      self->close();
    });
  }

  void close() {
    exchange_->on_disconnect(nullptr);
    std::lock_guard lock(mutex_);
    is_over_ = true;
    lease_.release();
  }

  const GenerationContext context_;
  const std::shared_ptr<Exchange> exchange_;
  const std::string model_name_;
  const bool wants_context_;
  const int num_top_logprobs_;
  const RequestTime time_;
  ReplyWriter writer_;
  std::unique_ptr<Asked> asked_;
  Lease lease_;
  Clock::duration load_{};
  int num_dropped_tokens_ = 0;
  std::vector<text::TokenId> context_ids_;
  engine::QueuePlace ticket_place_;  // when it came
  engine::QueuePlace last_place_;

  std::mutex mutex_;
  engine::RequestId id_ = 0;
  bool is_cancelled_ = false;
  bool is_over_ = false;
  std::vector<engine::Event> events_;
};

}  // namespace

void start_generation(const GenerationContext& context, std::shared_ptr<Exchange> exchange,
                      std::unique_ptr<api::Dialect> dialect, api::GenerationRequest request) {
  SharedRecord record = context.catalog.get(request.model);
  const bool is_unload = request.is_load_only && request.keep_alive == api::KeepAlive::zero();
  if (is_unload) {
    context.models.unload(*record);
    exchange->respond(
        Reply{200, "application/json; charset=utf-8", dialect->loaded("unload", {}), {}});
    return;
  }
  std::make_shared<Generation>(context, std::move(exchange), std::move(dialect), std::move(request),
                               std::move(record))
      ->start();
}

}  // namespace sluice::server
