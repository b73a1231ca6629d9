#include "server/generation.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "api/tools.h"
#include "base/units.h"
#include "keys/gatekeeper.h"
#include "server/event_stream.h"
#include "server/model_request.h"
#include "server/model_wait.h"
#include "server/on_worker.h"
#include "server/prompt.h"
#include "server/reply_grammar.h"
#include "server/reply_reader.h"
#include "server/reply_writer.h"
#include "server/running_choice.h"

namespace sluice::server {
namespace {

using engine::Clock;

// A stream goes out when nothing more is there now, or at so much.
constexpr size_t kFlushBytes = 32u << 10;
// A whole reply that takes so much is written on a worker.
constexpr size_t kLargeReplyBytes = 256u << 10;
// Of a name that somebody asks for, in the journal.
constexpr size_t kLongestName = 300;

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
    count_usage();
    if (!failure) co_return;
    exchange_.life().set_error(failure->message);
    lease_.release();
    co_await reply_.fail(*failure);
  }

 private:
  Awaitable<void> generate() {
    const size_t body_bytes = exchange_.request().body.size();
    auto parse = [&](std::string_view body, Work& work) { return dialect_.parse(body, work); };
    api::GenerationRequest wanted = co_await parse_body(context_, exchange_, parse);
    exchange_.charge_body(body_bytes + wanted.messages.size() * sizeof(api::Message));
    take_headers(context_, exchange_, wanted.extensions);
    model_name_ = wanted.model;
    note_model(wanted);
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
    lease_ = co_await acquire_model(context_.models, exchange_, record, wanted.keep_alive,
                                    wanted.options, tell_load);
    load_ = Clock::now() - exchange_.request().arrival;
    note_loaded();
    exchange_.set_stage("its prompt was about to be prepared");
    if (wanted.is_load_only) {
      const auto check = [&](Work&) {
        const LoadedModel& model = lease_.model();
        const ChatStyle style = chat_style(model, *record, context_.template_preference);
        require_abilities(model, *record, style, wanted);
        return true;
      };
      co_await on_worker(context_.workers.prepare, exchange_, check);
      co_await reply_.finish_with(dialect_.loaded("load", load_));
      co_return;
    }

    LoadedModel& model = lease_.model();
    const bool is_render_only = wanted.debug_render_only;
    const bool is_count_only = wanted.is_count_only;
    if (!is_render_only && !is_count_only) {  // before the work: under overload most are refused
      submit_or_refuse(exchange_, *model.engine, [&] { model.engine->require_room(); });
    }
    engine::Request request = engine_request(*record, wanted);
    PromptLimits limits{request.context_limit, request.num_keep};
    if (is_count_only) limits.context = std::numeric_limits<int>::max();  // all of it counts
    may_call_once_ = !wanted.parallel_tool_calls;
    std::vector<ReplyReader> readers;
    const auto num_choices = static_cast<size_t>(wanted.num_choices);
    auto make_prompts = [&](Work& work) {
      api::GenerationRequest used = std::move(wanted);  // its memory goes on the worker
      require_memory(body_bytes * kMostTimesBody);
      style_ = chat_style(model, *record, context_.template_preference);
      std::vector<PreparedPrompt> prompts;
      for (size_t i = 0; i < used.num_prompts(); ++i) {
        if (i > 0) used.take_other_prompt(i);
        prompts.push_back(prepare_prompt(model, *record, style_, used, limits, work));
        if (used.echo) echoes_.push_back(client_text(model, used));
      }
      const bool has_parts = used.takes_parts && !used.is_raw && !used.prompt_tokens;
      const std::string_view prompt = has_parts ? prompts.front().text : std::string_view();
      const auto source = is_count_only ? std::nullopt : reply_source(used, style_, prompt);
      if (source) {
        request.grammar = model.grammars->compile(*source, work);
      }
      for (size_t i = 0; has_parts && i < num_choices; ++i) {
        readers.emplace_back(style_.format,
                             text::ReplyContext{api::known_tools(used.tools), prompt},
                             static_cast<int>(i));
      }
      return prompts;
    };
    WorkerPool& preparer = context_.workers.preparer(body_bytes);
    std::vector<PreparedPrompt> prepared = co_await on_worker(preparer, exchange_, make_prompts);
    if (is_count_only) {
      co_await reply_.finish_with(dialect_.counted(static_cast<int>(prepared[0].tokens.size())));
      co_return;
    }
    tell_dropped(prepared, limits.context);
    if (is_render_only) {
      co_await reply_.finish_with(dialect_.rendered(prepared.front().text));
      co_return;
    }

    // What waits has a prompt for each choice; one is of no account.
    exchange_.charge_body(num_echo_bytes() + (num_choices - 1) * num_bytes_of(prepared));
    std::vector<engine::Request> requests =
        make_requests(std::move(prepared), request, num_choices);
    for (size_t i = 0; i < readers.size(); ++i) choices_[i].reader.emplace(std::move(readers[i]));
    for (size_t i = 0; i < echoes_.size() * num_choices; ++i) {
      choices_[i].echo = &echoes_[i / num_choices];
    }
    co_await run(std::move(requests));
    lease_.release();  // a slow client does not hold the model
    co_await finish();
  }

  // A request for each choice.
  std::vector<engine::Request> make_requests(std::vector<PreparedPrompt> prepared,
                                             const engine::Request& request, size_t num_choices) {
    std::vector<engine::Request> requests;
    for (PreparedPrompt& prompt : prepared) {
      prompt.tokens.shrink_to_fit();  // it may wait for long
      const auto bos = lease_.model().tokenizer->bos();
      const bool has_bos = bos && !prompt.tokens.empty() && prompt.tokens.front() == *bos;
      for (size_t i = 0; i < num_choices; ++i) {
        engine::Request& made = requests.emplace_back(request);
        if (has_bos && made.num_keep >= 0) ++made.num_keep;
        if (made.sampling.seed) *made.sampling.seed += i;
        made.prompt = i + 1 < num_choices ? prompt.tokens : std::move(prompt.tokens);
        RunningChoice& own = choices_.emplace_back();
        own.num_dropped_tokens = prompt.num_dropped_tokens;
        own.num_prompt_tokens = static_cast<int>(made.prompt.size());
        own.shares_prompt = i > 0;
        own.may_call_once = may_call_once_;
        own.wants_context = wants_context_;
        if (wants_context_) own.context_ids = made.prompt;
      }
    }
    return requests;
  }

  static size_t num_bytes_of(const std::vector<PreparedPrompt>& prompts) {
    size_t num_bytes = 0;
    for (const PreparedPrompt& prompt : prompts) {
      num_bytes += prompt.tokens.size() * sizeof(text::TokenId);
    }
    return num_bytes;
  }

  size_t num_echo_bytes() const {
    size_t num_bytes = 0;
    for (const std::string& echo : echoes_) num_bytes += echo.size();
    return num_bytes;
  }

  // The prompt as the client sent it.
  static std::string client_text(const LoadedModel& model, const api::GenerationRequest& request) {
    return request.prompt_tokens ? model.tokenizer->decode(*request.prompt_tokens, true)
                                 : request.prompt;
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
    request.arrival = exchange_.request().arrival;
    request.tag = exchange_.life().number;
    request.frame_controls = wanted.takes_parts && !wanted.is_raw && !wanted.prompt_tokens;
    request.context_limit = context_limit(context_, options, model.context_length);
    if (options.num_ctx > model.context_length) {
      spdlog::warn("num_ctx {} is more than {} can have: {}", *options.num_ctx, model_name_,
                   model.context_length);
    }
    request.num_keep = std::min(request.num_keep, request.context_limit);
    request.shift = wanted.shift;
    request.biases = wanted.biases;
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
    exchange_.life().num_dropped_tokens = num_dropped_tokens;
    spdlog::warn("{}: {} tokens of the prompt dropped, it is longer than {}", model_name_,
                 num_dropped_tokens, context_limit);
  }

  // For the journal.
  void note_model(const api::GenerationRequest& wanted) {
    RequestLife& life = exchange_.life();
    life.model = wanted.model.substr(0, kLongestName);
    life.is_stream = wanted.stream;
    context_.journal.set_model(life.number, life.model);
  }
  void note_loaded() {
    RequestLife& life = exchange_.life();
    const LoadedModel& model = lease_.model();
    life.load = load_;
    life.backend = model.backend_description;
    life.weights_bytes = model.memory.weights;
  }
  void note_submitted(const engine::Request& request) {
    RequestLife& life = exchange_.life();
    life.prepare = Clock::now() - exchange_.request().arrival - load_;
    life.context_limit = request.context_limit;
    life.max_tokens = request.max_tokens;
    life.has_grammar = request.grammar != nullptr;
  }

  // Of who left in the middle: what is known without the engine's last word.
  void note_lost(const engine::Engine& engine) {
    for (RunningChoice& choice : choices_) {
      if (choice.is_over || !choice.submitted) continue;
      exchange_.life().add_part(cut_short(choice, engine));
      choice.is_over = true;
    }
  }

  // Of a request's several replies they that run tell for those that do not.
  engine::Event cut_short(const RunningChoice& choice, const engine::Engine& engine) const {
    const engine::EngineStats stats = engine.stats();
    const engine::RequestStatus* own = nullptr;
    for (const engine::RequestStatus& status : stats.requests) {
      if (status.tag != exchange_.life().number) continue;
      if (own == nullptr || (status.is_running && !own->is_running)) own = &status;
    }
    return choice.cancelled(own);
  }

  // Submits the requests, and writes what the engine makes of them.
  Awaitable<void> run(std::vector<engine::Request> requests) {
    const engine::Engine& engine = *lease_.model().engine;
    std::exception_ptr failure;
    EventStream events(*lease_.model().engine, exchange_, exchange_.options().max_unsent_bytes);
    try {
      co_await run(std::move(requests), events);
    } catch (...) {
      failure = std::current_exception();
    }
    if (!failure) co_return;
    note_lost(engine);  // which still has them: `events` is there
    std::rethrow_exception(failure);
  }

  Awaitable<void> run(std::vector<engine::Request> requests, EventStream& events) {
    const bool wants_logprobs = requests.front().num_top_logprobs >= 0;
    const bool wants_waiting = requests.front().wants_queue_events;
    const auto deadline = exchange_.deadline();
    exchange_.leave_deadline_to_engine();
    engine::Engine& engine = *lease_.model().engine;
    note_submitted(requests.front());
    for (size_t i = 0; i < requests.size(); ++i) {
      requests[i].deadline = deadline;
      choices_[i].place = submit_or_refuse(
          exchange_, engine, [&] { return events.submit(std::move(requests[i]), i); });
      choices_[i].submitted = Clock::now();
    }
    requests = {};
    last_place_ = choices_.front().place;
    exchange_.life().queue_position = last_place_.position;
    add_queue_headers(exchange_, last_place_);
    if (wants_waiting && last_place_.position > 0) tell_place(last_place_);
    for (size_t num_over = 0; num_over < choices_.size();) {
      if (events.is_empty() || exchange_.num_unsent_bytes() > kFlushBytes) {
        co_await exchange_.flush();
      }
      EventStream::Tagged next = co_await this->next(events);
      if (choices_[next.tag].is_over) continue;  // next() has made up its end
      if (choices_[next.tag].is_cut) next.event.reason = engine::FinishReason::kEndOfSequence;
      if (next.event.queue_place && next.tag == 0) tell_place(*next.event.queue_place);
      write(next, wants_logprobs);
      if (!next.event.is_final) {
        if (choices_[next.tag].is_cut) events.end(next.tag);
        continue;
      }
      choices_[next.tag].is_over = true;
      exchange_.life().add_part(next.event);
      exchange_.life().fastest_decode = engine.stats().fastest_decode;
      check_end(next);
      end_choice(next);
      ++num_over;
    }
  }

  // The next event. When the server ends it, those that end what has been begun.
  Awaitable<EventStream::Tagged> next(EventStream& events) {
    try {
      co_return co_await events.next();
    } catch (const Error&) {
      const bool is_ended_here = exchange_.is_ended_by_server() || exchange_.is_cancelled();
      if (!is_ended_here || !is_begun_) throw;
    }
    const auto open = std::find_if(choices_.begin(), choices_.end(),
                                   [](const RunningChoice& choice) { return !choice.is_over; });
    EventStream::Tagged end;
    end.tag = static_cast<size_t>(open - choices_.begin());
    end.event = cut_short(*open, *lease_.model().engine);
    co_return end;
  }

  void tell_place(const engine::QueuePlace& place) {
    last_place_ = place;
    reply_.write_waiting({.is_loading = false, .load_progress = 0, .place = place});
  }

  void write(const EventStream::Tagged& next, bool wants_logprobs) {
    RunningChoice& choice = choices_[next.tag];
    std::vector<api::ReplyLogprob> logprobs;
    if (wants_logprobs) {
      logprobs = api::to_logprobs(next.event.tokens, *lease_.model().tokenizer);
    }
    for (api::ReplyPiece& piece : choice.read(next.event, std::move(logprobs))) {
      piece.index = static_cast<int>(next.tag);
      begin();
      reply_.write_piece(std::move(piece));
    }
  }

  void begin() {
    if (std::exchange(is_begun_, true)) return;
    int num_tokens = 0;
    for (const RunningChoice& choice : choices_) {
      if (!choice.shares_prompt) num_tokens += choice.num_prompt_tokens;
    }
    reply_.begin(num_tokens);
  }

  // Throws Error for a final event that is not worth an end.
  void check_end(const EventStream::Tagged& next) {
    const engine::Event& event = next.event;
    if (event.reason == engine::FinishReason::kError) {
      throw Error(ErrorCode::kInternal,
                  "an error was encountered while running the model: " + event.error);
    }
    if (event.num_output_tokens > 0 || is_begun_) return;  // it, or another prompt, has a reply
    if (event.reason == engine::FinishReason::kCancelled) {
      throw Error(ErrorCode::kCancelled, "the request was cancelled");
    }
    if (event.reason != engine::FinishReason::kDeadline) return;
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

  void end_choice(const EventStream::Tagged& next) {
    begin();
    api::ReplyEnd end = choices_[next.tag].end(next.event);
    end.index = static_cast<int>(next.tag);
    end.total = Clock::now() - exchange_.request().arrival;
    end.load = load_;
    reply_.end_choice(end);
  }

  // Whatever became of the request: what the engine got is its key's.
  void count_usage() const {
    const auto& visit = exchange_.request().client.visit;
    if (!visit) return;
    int64_t num_prompt_tokens = 0;
    int64_t num_output_tokens = 0;
    for (const RunningChoice& choice : choices_) {
      const bool is_counted = choice.submitted && !choice.shares_prompt;
      if (is_counted) num_prompt_tokens += choice.num_prompt_tokens;
      num_output_tokens += choice.num_output_tokens;
    }
    if (num_prompt_tokens > 0) visit->count_tokens(num_prompt_tokens, num_output_tokens);
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
  ChatStyle style_;
  bool may_call_once_ = false;
  ReplyWriter reply_;
  std::string model_name_;
  bool wants_context_ = false;
  Lease lease_;
  Clock::duration load_{};
  std::vector<std::string> echoes_;  // by prompt
  std::vector<RunningChoice> choices_;
  engine::QueuePlace last_place_;  // of the first one
  bool is_begun_ = false;
};

}  // namespace

Awaitable<void> answer_generation(const ServerContext& context, Exchange& exchange,
                                  api::Dialect& dialect) {
  Generation generation(context, exchange, dialect);
  co_await generation.answer();
}

Awaitable<void> answer_generation(const ServerContext& context, Exchange& exchange,
                                  api::MakeDialect make_dialect) {
  const std::unique_ptr<api::Dialect> dialect = make_dialect(api::fresh_stamp());
  co_await answer_generation(context, exchange, *dialect);
}

}  // namespace sluice::server
