#include "server/generation.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "api/ollama.h"
#include "base/units.h"
#include "server/prompt.h"

namespace sluice::server {
namespace {

using Clock = std::chrono::steady_clock;

// One generation. Three threads meet here, one after the other as a rule: a preparer starts it, the
// engine's thread queues events, the connection's thread writes them. `mutex_` guards what they
// share. Lives as long as the engine, the exchange or a task refers to it.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(const GenerationContext& context, std::shared_ptr<Exchange> exchange, Dialect dialect,
             api::GenerationRequest request, store::ModelRecord record)
      : context_(context),
        exchange_(std::move(exchange)),
        dialect_(dialect),
        request_(std::move(request)),
        record_(std::move(record)),
        writer_(exchange_, dialect, request_) {}

  void start() {
    exchange_->on_disconnect([weak = weak_from_this()] {
      if (auto self = weak.lock()) self->cancel();
    });
    context_.models.acquire(record_, request_.keep_alive,
                            [self = shared_from_this()](Lease lease, const Error* error) {
                              self->on_model(std::move(lease), error);
                            });
  }

 private:
  // On the loader's or a preparer's thread.
  void on_model(Lease lease, const Error* error) {
    load_ = Clock::now() - arrival_;
    if (error) {
      fail(*error);
      return;
    }
    lease_ = std::move(lease);
    context_.preparers.post([self = shared_from_this()] { self->prepare(); });
  }

  void prepare() {
    try {
      if (request_.is_load_only()) {
        answer_load();
        return;
      }
      if (exchange_->is_disconnected()) throw Error(ErrorCode::kCancelled, "request canceled");
      submit();
    } catch (const Error& error) {
      fail(error);
    } catch (const std::exception& exception) {
      fail(Error(ErrorCode::kInternal, exception.what()));
    }
  }

  void answer_load() {
    const auto now = std::chrono::system_clock::now();
    std::string body = request_.is_chat
                           ? api::ollama::encode_chat_load(request_.model, now, "load")
                           : api::ollama::encode_generate_load(request_.model, now, "load");
    exchange_->respond(Reply{200, "application/json; charset=utf-8", std::move(body), {}});
    lease_.release();
  }

  void submit() {
    LoadedModel& model = lease_.model();
    api::ModelOptions defaults;
    if (!record_.texts.params_json.empty()) {
      defaults = api::parse_options(api::parse_json(record_.texts.params_json));
    }
    const api::ModelOptions options = api::merge_options(defaults, request_.options);
    engine::Request request;
    api::apply_options(options, request);
    if (request.context_limit <= 0) request.context_limit = context_.default_context;
    if (request.context_limit > model.context_length) {
      if (options.num_ctx) {
        spdlog::warn("num_ctx {} is more than {} can have: {}", *options.num_ctx, request_.model,
                     model.context_length);
      }
      request.context_limit = model.context_length;
    }
    PreparedPrompt prompt = prepare_prompt(model, record_, request_, request.context_limit);
    num_dropped_tokens_ = prompt.num_dropped_tokens;
    if (num_dropped_tokens_ > 0) {
      spdlog::warn("{}: {} tokens of the conversation dropped, it is longer than {}",
                   request_.model, num_dropped_tokens_, request.context_limit);
    }
    if (request_.debug_render_only) {
      exchange_->respond(Reply{
          200,
          "application/json; charset=utf-8",
          api::ollama::encode_rendered_prompt(request_.model, std::chrono::system_clock::now(),
                                              request_.is_chat, prompt.text),
          {}});
      lease_.release();
      return;
    }
    if (dialect_ == Dialect::kOllamaGenerate && !request_.is_raw) context_ids_ = prompt.tokens;
    request.prompt = std::move(prompt.tokens);
    request.num_top_logprobs = request_.num_top_logprobs;
    request.on_event = [self = shared_from_this()](const engine::Event& event) {
      self->on_event(event);
    };
    run(model, std::move(request));
  }

  void run(LoadedModel& model, engine::Request request) {
    {
      std::lock_guard lock(mutex_);
      if (is_cancelled_) throw Error(ErrorCode::kCancelled, "request canceled");
    }
    const engine::RequestId id = model.engine->submit(std::move(request)).id;
    std::lock_guard lock(mutex_);
    id_ = id;
    if (is_cancelled_ && lease_) model.engine->cancel(id);
  }

  // On the connection's thread, or that of an exchange's other user.
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
      must_post = events_.empty();
      events_.push_back(event);
    }
    if (must_post) exchange_->post([self = shared_from_this()] { self->write_events(); });
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
    for (const engine::OutputToken& output : event.tokens) {
      if (dialect_ == Dialect::kOllamaGenerate && !request_.is_raw) {
        context_ids_.push_back(output.token);
      }
    }
    api::ReplyPiece piece;
    piece.content = event.text;
    if (request_.num_top_logprobs >= 0) {
      piece.logprobs = api::to_logprobs(event.tokens, *lease_.model().tokenizer);
    }
    if (!piece.content.empty() || !piece.logprobs.empty()) {
      if (!writer_.write_piece(std::move(piece))) cancel();
    }
    if (event.is_final) finish(event);
  }

  void finish(const engine::Event& event) {
    {
      std::lock_guard lock(mutex_);
      is_over_ = true;
    }
    if (event.reason == engine::FinishReason::kError) {
      fail(Error(ErrorCode::kInternal,
                 "an error was encountered while running the model: " + event.error));
      return;
    }
    api::ReplyEnd end = api::reply_end(event);
    end.total = Clock::now() - arrival_;
    end.load = load_;
    end.num_dropped_tokens = num_dropped_tokens_;
    end.context = std::move(context_ids_);
    writer_.finish(end);
    spdlog::info("{}: {} prompt tokens ({} cached), {} reply tokens, {}, {}", request_.model,
                 event.num_prompt_tokens, event.num_cached_tokens, event.num_output_tokens,
                 engine::finish_reason_name(event.reason), format_go_duration(end.total));
    close();
  }

  void fail(const Error& error) {
    spdlog::info("{}: {}", request_.model, error.what());
    {
      std::lock_guard lock(mutex_);
      is_over_ = true;
    }
    writer_.fail(error);
    close();
  }

  void close() {
    exchange_->on_disconnect(nullptr);
    std::lock_guard lock(mutex_);
    lease_.release();
  }

  const GenerationContext context_;
  const std::shared_ptr<Exchange> exchange_;
  const Dialect dialect_;
  const api::GenerationRequest request_;
  const store::ModelRecord record_;
  const Clock::time_point arrival_ = Clock::now();
  ReplyWriter writer_;
  Lease lease_;
  Clock::duration load_{};
  int num_dropped_tokens_ = 0;
  std::vector<text::TokenId> context_ids_;

  std::mutex mutex_;
  engine::RequestId id_ = 0;
  bool is_cancelled_ = false;
  bool is_over_ = false;
  std::vector<engine::Event> events_;
};

}  // namespace

void start_generation(const GenerationContext& context, std::shared_ptr<Exchange> exchange,
                      Dialect dialect, api::GenerationRequest request) {
  store::ModelRecord record = context.catalog.get(request.model);
  const bool is_openai = dialect == Dialect::kOpenAiChat || dialect == Dialect::kOpenAiCompletion;
  if (request.is_load_only() && is_openai && request.is_chat) {
    throw Error(ErrorCode::kInvalidArgument, "[] is too short - 'messages'");
  }
  const bool is_unload = request.is_load_only() && !is_openai && request.keep_alive &&
                         *request.keep_alive == api::KeepAlive::zero();
  if (is_unload) {
    context.models.unload(record);
    const auto now = std::chrono::system_clock::now();
    std::string body = request.is_chat
                           ? api::ollama::encode_chat_load(request.model, now, "unload")
                           : api::ollama::encode_generate_load(request.model, now, "unload");
    exchange->respond(Reply{200, "application/json; charset=utf-8", std::move(body), {}});
    return;
  }
  std::make_shared<Generation>(context, std::move(exchange), dialect, std::move(request),
                               std::move(record))
      ->start();
}

}  // namespace sluice::server
