#include "server/admission.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>

#include "api/reply.h"
#include "base/units.h"

namespace sluice::server {
namespace {

using engine::Clock;

// One request on its way to a model. Four may end the wait: the loader, a preparer, the alarm and
// the client's leaving; the first one does.
class Wait : public std::enable_shared_from_this<Wait> {
 public:
  Wait(const GenerationContext& context, std::shared_ptr<Exchange> exchange, Admission admission)
      : context_(context), exchange_(std::move(exchange)), admission_(std::move(admission)) {}

  void start() {
    // Weak: the exchange must not keep alive what holds it.
    exchange_->on_disconnect([weak = weak_from_this()] {
      if (auto self = weak.lock()) self->leave(Error(ErrorCode::kCancelled, "request canceled"));
    });
    if (const auto deadline = admission_.time.deadline()) {
      exchange_->set_alarm(*deadline, [weak = weak_from_this()] {
        if (auto self = weak.lock()) self->expire();
      });
    }
    const ModelManager::WaiterId id = context_.models.acquire(
        *admission_.record, admission_.keep_alive,
        [self = shared_from_this()](Lease lease, const Error* error) {
          self->on_model(std::move(lease), error);
        },
        [self = shared_from_this()](double fraction) { self->on_progress(fraction); });
    bool is_over = false;
    {
      std::lock_guard lock(mutex_);
      waiter_ = id;
      is_over = is_over_;
    }
    if (is_over) context_.models.withdraw(id);
  }

 private:
  void on_progress(double fraction) {
    {
      std::lock_guard lock(mutex_);
      if (is_over_) return;
      progress_ = fraction;
    }
    if (admission_.on_progress) admission_.on_progress(fraction);
  }

  void on_model(Lease lease, const Error* error) {
    if (error) {
      end(*error);
      return;
    }
    {
      std::lock_guard lock(mutex_);
      is_loaded_ = true;
    }
    context_.preparers.post([self = shared_from_this(), lease = std::move(lease)]() mutable {
      if (!self->take_end()) return;
      self->admission_.on_ready(std::move(lease));
    });
  }

  void expire() {
    std::string where = "its prompt was about to be prepared";
    {
      std::lock_guard lock(mutex_);
      if (!is_loaded_) {
        const auto percent = std::lround(progress_ * 100);
        where = "the model was still loading (" + std::to_string(percent) + "%)";
      }
    }
    leave(admission_.time.expired(where));
  }

  void leave(const Error& error) {
    ModelManager::WaiterId id = 0;
    {
      std::lock_guard lock(mutex_);
      id = waiter_;
    }
    end(error);
    if (id != 0) context_.models.withdraw(id);
  }

  void end(const Error& error) {
    if (take_end()) admission_.on_failure(error);
  }

  // True for the one who may end the wait.
  bool take_end() {
    {
      std::lock_guard lock(mutex_);
      if (std::exchange(is_over_, true)) return false;
    }
    exchange_->on_disconnect(nullptr);
    if (admission_.time.deadline()) exchange_->set_alarm({}, nullptr);
    return true;
  }

  const GenerationContext context_;
  const std::shared_ptr<Exchange> exchange_;
  const Admission admission_;

  std::mutex mutex_;  // guards what follows
  ModelManager::WaiterId waiter_ = 0;
  double progress_ = 0;
  bool is_loaded_ = false;
  bool is_over_ = false;
};

}  // namespace

std::optional<Clock::time_point> RequestTime::deadline() const {
  if (timeout >= Clock::time_point::max() - arrival) return std::nullopt;
  return arrival + timeout;
}

Error RequestTime::expired(const std::string& where) const {
  return Error(ErrorCode::kDeadlineExceeded,
               "the request's time of " + format_go_duration(timeout) + " was over: " + where);
}

RequestTime request_time(const GenerationContext& context, const Exchange& exchange,
                         const api::Extensions& extensions) {
  return {exchange.request().arrival, extensions.timeout.value_or(context.default_timeout)};
}

api::ModelOptions options_over_model(const store::ModelRecord& record,
                                     const api::ModelOptions& options) {
  api::ModelOptions defaults;
  if (!record.texts.params_json.empty()) {
    defaults = api::parse_options(api::parse_json(record.texts.params_json));
  }
  return api::merge_options(defaults, options);
}

void admit(const GenerationContext& context, const std::shared_ptr<Exchange>& exchange,
           Admission admission) {
  std::make_shared<Wait>(context, exchange, std::move(admission))->start();
}

Refusal make_refusal(const Error& error, const engine::EngineStats& stats) {
  const double seconds = std::chrono::duration<double>(stats.estimated_wait).count();
  return {Error(error.code(), "server busy, please try again: " + std::string(error.what())),
          static_cast<int>(std::ceil(std::clamp(seconds, 1.0, 600.0)))};
}

void add_queue_headers(Exchange& exchange, const engine::QueuePlace& place) {
  exchange.add_header("X-Queue-Position", std::to_string(place.position));
  exchange.add_header("X-Estimated-Wait", api::format_seconds(place.estimated_wait));
}

}  // namespace sluice::server
