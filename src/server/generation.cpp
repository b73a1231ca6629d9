#include "server/generation.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "base/units.h"
#include "server/event_stream.h"
#include "server/model_request.h"
#include "server/model_wait.h"
#include "server/on_worker.h"
#include "server/prompt.h"
#include "server/reply_writer.h"

namespace sluice::server {
namespace {

using engine::Clock;

// A stream goes out when nothing more is there now, or at so much.
constexpr size_t kFlushBytes = 32u << 10;
// A whole reply that takes so much is written on a worker.
constexpr size_t kLargeReplyBytes = 256u << 10;

// Null for a format that is none.
grammar::Grammar compile_format(grammar::Compiler& compiler, const api::Format& format,
                                Work& work) {
  using grammar::SourceKind;
  switch (format.kind) {
    case api::FormatKind::kText:
      return nullptr;
    case api::FormatKind::kJson:
      return compiler.compile({SourceKind::kJsonObject, {}}, work);
    case api::FormatKind::kSchema:
      return compiler.compile({SourceKind::kJsonSchema, format.text}, work);
    case api::FormatKind::kRegex:
      return compiler.compile({SourceKind::kRegex, format.text}, work);
    case api::FormatKind::kGrammar:
      return compiler.compile({SourceKind::kGbnf, format.text}, work);
  }
  return nullptr;
}

bool is_unload(const api::GenerationRequest& request) {
  return request.is_load_only && request.keep_alive &&
         *request.keep_alive == api::KeepAlive::zero();
}

// One chat or completion, on its way from the body to the last byte: answer() is the way.
class Generation {
 public:
  Generation(const ServerContext& context, Exchange& exchange, api::Dialect& dialect)
      : context_(context), exchange_(exchange), dialect_(dialect), reply_(exchange, dialect) {}

  Awaitable<void> answer() {
    std::optional<Failure> failure;
    try {
      co_await generate();
    } catch (...) {
      failure = failure_of(std::current_exception());
    }
    if (!failure) co_return;
    spdlog::info("{}: {}", model_name_, failure->message);
    lease_.release();
    co_await reply_.fail(*failure);
  }

 private:
  // One of the request's prompts on its way through the engine.
  struct Prompt {
    int num_dropped_tokens = 0;
    int num_tokens = 0;
    int num_output_tokens = 0;  // so far
    engine::QueuePlace place;   // when it came
    std::vector<text::TokenId> context_ids;
    bool is_over = false;
  };

  Awaitable<void> generate() {
    const size_t body_bytes = exchange_.request().body.size();
    auto parse = [&](std::string_view body, Work& work) { return dialect_.parse(body, work); };
    api::GenerationRequest wanted = co_await parse_body(context_, exchange_, parse);
    exchange_.charge_body(body_bytes + wanted.messages.size() * sizeof(api::Message));
    take_headers(context_, exchange_, wanted.extensions);
    model_name_ = wanted.model;
    wants_context_ = wanted.wants_context;
    reply_.set_stream(wanted.stream);
    if (is_unload(wanted)) {
      co_await unload(wanted.model);
      co_return;
    }

    const SharedRecord record = co_await look_up(wanted.model);
    const std::function<void(double)> tell_load = [&](double fraction) {
      if (!wanted.extensions.wants_queue_events) return;
      reply_.write_waiting({.is_loading = true, .load_progress = fraction, .place = {}});
    };
    lease_ =
        co_await acquire_model(context_.models, exchange_, record, wanted.keep_alive, tell_load);
    load_ = Clock::now() - exchange_.request().arrival;
    exchange_.set_stage("its prompt was about to be prepared");
    if (wanted.is_load_only) {
      co_await reply_.finish_with(dialect_.loaded("load", load_));
      co_return;
    }

    LoadedModel& model = lease_.model();
    const bool is_render_only = wanted.debug_render_only;
    if (!is_render_only) {  // before the work: under overload most are refused
      submit_or_refuse(exchange_, *model.engine, [&] { model.engine->require_room(); });
    }
    const engine::Request request = engine_request(*record, wanted);
    const PromptLimits limits{request.context_limit, request.num_keep};
    grammar::Grammar grammar;
    auto make_prompts = [&](Work& work) {
      api::GenerationRequest used = std::move(wanted);  // its memory goes on the worker
      require_memory(body_bytes * kMostTimesBody);
      grammar = compile_format(*model.grammars, used.format, work);
      std::vector<PreparedPrompt> prompts;
      for (size_t i = 0; i < used.num_prompts(); ++i) {
        if (i > 0) used.take_other_prompt(i);
        prompts.push_back(prepare_prompt(model, *record, used, limits, work));
      }
      return prompts;
    };
    WorkerPool& preparer = context_.workers.preparer(body_bytes);
    std::vector<PreparedPrompt> prepared = co_await on_worker(preparer, exchange_, make_prompts);
    tell_dropped(prepared, limits.context);
    if (is_render_only) {
      co_await reply_.finish_with(dialect_.rendered(prepared.front().text));
      co_return;
    }

    exchange_.charge_body(0);
    std::vector<engine::Request> requests = make_requests(std::move(prepared), request);
    for (engine::Request& made : requests) made.grammar = grammar;
    co_await run(std::move(requests));
    lease_.release();  // a slow client does not hold the model
    co_await finish();
  }

  // A request for each prompt.
  std::vector<engine::Request> make_requests(std::vector<PreparedPrompt> prepared,
                                             const engine::Request& request) {
    std::vector<engine::Request> requests;
    for (PreparedPrompt& prompt : prepared) {
      engine::Request& made = requests.emplace_back(request);
      const auto bos = lease_.model().tokenizer->bos();
      const bool has_bos = bos && !prompt.tokens.empty() && prompt.tokens.front() == *bos;
      if (has_bos && made.num_keep >= 0) ++made.num_keep;
      made.prompt = std::move(prompt.tokens);
      made.prompt.shrink_to_fit();  // it may wait for long
      Prompt& own = prompts_.emplace_back();
      own.num_dropped_tokens = prompt.num_dropped_tokens;
      own.num_tokens = static_cast<int>(made.prompt.size());
      if (wants_context_) own.context_ids = made.prompt;
    }
    return requests;
  }

  Awaitable<SharedRecord> look_up(const std::string& name) {
    auto get = [&](Work&) { return context_.catalog.get(name); };
    co_return co_await on_worker(context_.workers.disk, exchange_, get);
  }

  // Also what was loaded from files that are not there any more.
  Awaitable<void> unload(const std::string& name) {
    SharedRecord record;
    std::optional<Failure> failure;
    try {
      record = co_await look_up(name);
    } catch (...) {
      failure = failure_of(std::current_exception());
    }
    const bool is_found = context_.models.unload(name, record.get());
    if (!is_found && failure) failure->raise();
    co_await reply_.finish_with(dialect_.loaded("unload", {}));
  }

  engine::Request engine_request(const CatalogRecord& record,
                                 const api::GenerationRequest& wanted) const {
    const LoadedModel& model = lease_.model();
    const api::ModelOptions options = api::merge_options(record.options, wanted.options);
    engine::Request request;
    api::apply_options(options, request);
    request.context_limit = context_limit(context_, options, model.context_length);
    if (options.num_ctx > model.context_length) {
      spdlog::warn("num_ctx {} is more than {} can have: {}", *options.num_ctx, model_name_,
                   model.context_length);
    }
    request.num_keep = std::min(request.num_keep, request.context_limit);
    request.shift = wanted.shift;
    if (wanted.extensions.speculate) request.speculate = wanted.extensions.speculate;
    request.wants_queue_events = wanted.stream && wanted.extensions.wants_queue_events;
    request.ignore_end_of_sequence = wanted.extensions.ignore_end;
    request.num_top_logprobs = wanted.num_top_logprobs;
    return request;
  }

  void tell_dropped(const std::vector<PreparedPrompt>& prompts, int context_limit) {
    int num_dropped_tokens = 0;
    for (const PreparedPrompt& prompt : prompts) num_dropped_tokens += prompt.num_dropped_tokens;
    if (num_dropped_tokens == 0) return;
    exchange_.add_header("X-Dropped-Tokens", std::to_string(num_dropped_tokens));
    spdlog::warn("{}: {} tokens of the prompt dropped, it is longer than {}", model_name_,
                 num_dropped_tokens, context_limit);
  }

  // Submits the prompts, and writes what the engine makes of them.
  Awaitable<void> run(std::vector<engine::Request> requests) {
    const bool wants_logprobs = requests.front().num_top_logprobs >= 0;
    const bool wants_waiting = requests.front().wants_queue_events;
    const auto deadline = exchange_.deadline();
    exchange_.leave_deadline_to_engine();
    engine::Engine& engine = *lease_.model().engine;
    EventStream events(engine, exchange_, exchange_.options().max_unsent_bytes);
    for (size_t i = 0; i < requests.size(); ++i) {
      requests[i].deadline = deadline;
      prompts_[i].place = submit_or_refuse(
          exchange_, engine, [&] { return events.submit(std::move(requests[i]), i); });
    }
    requests = {};
    last_place_ = prompts_.front().place;
    add_queue_headers(exchange_, last_place_);
    if (wants_waiting && last_place_.position > 0) tell_place(last_place_);
    for (size_t num_over = 0; num_over < prompts_.size();) {
      if (events.is_empty() || exchange_.num_unsent_bytes() > kFlushBytes) {
        co_await exchange_.flush();
      }
      const EventStream::Tagged next = co_await this->next(events);
      if (prompts_[next.tag].is_over) continue;  // next() has made up its end
      if (next.event.queue_place && next.tag == 0) tell_place(*next.event.queue_place);
      write(next, wants_logprobs);
      if (!next.event.is_final) continue;
      check_end(next);
      end_prompt(next);
      ++num_over;
    }
  }

  // The next event. When the server ends, those that end what has been begun.
  Awaitable<EventStream::Tagged> next(EventStream& events) {
    try {
      co_return co_await events.next();
    } catch (const Error&) {
      if (!exchange_.is_ended_by_server() || !is_begun_) throw;
    }
    const auto open = std::find_if(prompts_.begin(), prompts_.end(),
                                   [](const Prompt& prompt) { return !prompt.is_over; });
    EventStream::Tagged end;
    end.tag = static_cast<size_t>(open - prompts_.begin());
    end.event.is_final = true;
    end.event.reason = engine::FinishReason::kCancelled;
    end.event.num_prompt_tokens = open->num_tokens;
    end.event.num_output_tokens = open->num_output_tokens;
    co_return end;
  }

  void tell_place(const engine::QueuePlace& place) {
    last_place_ = place;
    reply_.write_waiting({.is_loading = false, .load_progress = 0, .place = place});
  }

  void write(const EventStream::Tagged& next, bool wants_logprobs) {
    const engine::Event& event = next.event;
    Prompt& prompt = prompts_[next.tag];
    prompt.num_output_tokens += static_cast<int>(event.tokens.size());
    if (wants_context_) {
      for (const engine::OutputToken& output : event.tokens) {
        prompt.context_ids.push_back(output.token);
      }
    }
    api::ReplyPiece piece;
    piece.index = static_cast<int>(next.tag);
    piece.content = event.text;
    if (wants_logprobs) {
      piece.logprobs = api::to_logprobs(event.tokens, *lease_.model().tokenizer);
    }
    if (piece.content.empty() && piece.logprobs.empty()) return;
    begin();
    reply_.write_piece(std::move(piece));
  }

  void begin() {
    if (std::exchange(is_begun_, true)) return;
    int num_tokens = 0;
    for (const Prompt& prompt : prompts_) num_tokens += prompt.num_tokens;
    reply_.begin(num_tokens);
  }

  // Throws Error for a final event that is not worth an end.
  void check_end(const EventStream::Tagged& next) {
    const engine::Event& event = next.event;
    if (event.reason == engine::FinishReason::kError) {
      throw Error(ErrorCode::kInternal,
                  "an error was encountered while running the model: " + event.error);
    }
    if (event.reason != engine::FinishReason::kDeadline || event.num_output_tokens > 0) return;
    if (is_begun_) return;  // another prompt has a reply
    const std::string load = "after " + format_go_duration(load_) + " until the model was there";
    if (event.timings.prefill == std::chrono::nanoseconds::zero()) {
      const std::string place =
          last_place_.position > 0 ? " (place " + std::to_string(last_place_.position) + ")" : "";
      exchange_.set_stage("it was still in the queue" + place + ", " + load);
    } else {
      exchange_.set_stage("its prompt of " + std::to_string(event.num_prompt_tokens) +
                          " tokens was being computed, " + load + " and " +
                          format_go_duration(event.timings.queued) + " in the queue");
    }
    throw exchange_.expired();
  }

  void end_prompt(const EventStream::Tagged& next) {
    Prompt& prompt = prompts_[next.tag];
    prompt.is_over = true;
    begin();
    api::ReplyEnd end = api::reply_end(next.event);
    end.index = static_cast<int>(next.tag);
    end.total = Clock::now() - exchange_.request().arrival;
    end.load = load_;
    end.num_dropped_tokens = prompt.num_dropped_tokens;
    end.queue_position = prompt.place.position;
    end.context = std::move(prompt.context_ids);
    reply_.end_prompt(end);
    spdlog::info("{}: {} prompt tokens ({} cached), {} reply tokens, {}, {}", model_name_,
                 end.num_prompt_tokens, end.num_cached_tokens, end.num_output_tokens,
                 engine::finish_reason_name(end.reason), format_go_duration(end.total));
  }

  Awaitable<void> finish() {
    if (reply_.num_kept_bytes() < kLargeReplyBytes) {
      co_await reply_.finish();
      co_return;
    }
    auto encode = [&](Work&) { return reply_.whole(); };
    std::string body = co_await on_worker(context_.workers.prepare_large, exchange_, encode);
    co_await reply_.finish_with(std::move(body));
  }

  const ServerContext& context_;
  Exchange& exchange_;
  api::Dialect& dialect_;
  ReplyWriter reply_;
  std::string model_name_;
  bool wants_context_ = false;
  Lease lease_;
  Clock::duration load_{};
  std::vector<Prompt> prompts_;
  engine::QueuePlace last_place_;  // of the first prompt
  bool is_begun_ = false;
};

}  // namespace

Awaitable<void> answer_generation(const ServerContext& context, Exchange& exchange,
                                  api::MakeDialect make_dialect) {
  const std::unique_ptr<api::Dialect> dialect = make_dialect(api::fresh_stamp());
  Generation generation(context, exchange, *dialect);
  co_await generation.answer();
}

}  // namespace sluice::server
