#include "monitor/view.h"

#include <algorithm>
#include <map>

namespace sluice::monitor {
namespace {

uint64_t growth(uint64_t before, uint64_t now) { return now >= before ? now - before : now; }

// A core's counters can go back a little (the kernel adds them up from parts): that is no time.
double busy_share(const machine::CpuTimes& before, const machine::CpuTimes& now) {
  if (now.total <= before.total || now.busy < before.busy) return 0;
  const double share =
      static_cast<double>(now.busy - before.busy) / static_cast<double>(now.total - before.total);
  return std::min(share, 1.0);
}

std::vector<double> core_shares(const machine::CpuSample& before, const machine::CpuSample& now) {
  std::vector<double> shares;
  for (size_t i = 0; i < now.cores.size(); ++i) {
    shares.push_back(i < before.cores.size() ? busy_share(before.cores[i], now.cores[i]) : 0);
  }
  return shares;
}

std::vector<ThreadShare> thread_shares(const ProcessSample& before, const ProcessSample& now,
                                       double seconds) {
  std::map<int, uint64_t> ticks_before;
  if (before.pid == now.pid) {
    for (const machine::ThreadSample& thread : before.threads)
      ticks_before[thread.id] = thread.ticks;
  }
  std::vector<ThreadShare> shares;
  for (const machine::ThreadSample& thread : now.threads) {
    const auto found = ticks_before.find(thread.id);
    // Of a thread that is new, nobody knows how long it has been there.
    const uint64_t ticks = found == ticks_before.end() ? 0 : growth(found->second, thread.ticks);
    shares.push_back(
        {.id = thread.id,
         .name = thread.name,
         .cpu_share = static_cast<double>(ticks) / machine::ticks_per_second() / seconds});
  }
  std::stable_sort(shares.begin(), shares.end(), [](const ThreadShare& a, const ThreadShare& b) {
    return a.cpu_share > b.cpu_share;
  });
  return shares;
}

// Without the server's own.
std::vector<ProcessShare> other_processes(const Snapshot& before, const Snapshot& now,
                                          double seconds) {
  constexpr double kLeastShare = 0.01;
  std::map<int, uint64_t> ticks_before;
  for (const machine::ProcessTicks& process : before.processes) {
    ticks_before[process.pid] = process.ticks;
  }
  std::vector<ProcessShare> shares;
  for (const machine::ProcessTicks& process : now.processes) {
    const bool is_server = now.process && now.process->pid == process.pid;
    const auto found = ticks_before.find(process.pid);
    if (is_server || found == ticks_before.end()) continue;
    const auto ticks = static_cast<double>(growth(found->second, process.ticks));
    const double share = ticks / machine::ticks_per_second() / seconds;
    if (share >= kLeastShare) shares.push_back({process.pid, process.name, share});
  }
  std::stable_sort(shares.begin(), shares.end(), [](const ProcessShare& a, const ProcessShare& b) {
    return a.cpu_share > b.cpu_share;
  });
  return shares;
}

// Tokens of all models since `before`; a model that was not there then counts from zero.
struct TokenGrowth {
  uint64_t prompt = 0;
  uint64_t output = 0;
};

TokenGrowth token_growth(const ServerSample& before, const ServerSample& now) {
  TokenGrowth sum;
  for (const ModelSample& model : now.models) {
    const auto old = std::find_if(before.models.begin(), before.models.end(),
                                  [&](const ModelSample& m) { return m.name == model.name; });
    const bool is_known = old != before.models.end() && before.pid == now.pid;
    sum.prompt += growth(is_known ? old->num_prompt_tokens : 0, model.num_prompt_tokens);
    sum.output += growth(is_known ? old->num_output_tokens : 0, model.num_output_tokens);
  }
  return sum;
}

std::optional<double> cache_hit_share(const ServerSample& now) {
  double cached = 0;
  double prefilled = 0;
  for (const ModelSample& model : now.models) {
    cached += static_cast<double>(model.num_cached_tokens);
    prefilled += static_cast<double>(model.num_prompt_tokens);
  }
  if (cached + prefilled == 0) return {};
  return cached / (cached + prefilled);
}

std::optional<double> rate_of(const std::optional<double>& before, const std::optional<double>& now,
                              double seconds) {
  if (!before || !now || *now < *before) return {};
  return (*now - *before) / seconds;
}

std::vector<GpuRates> gpu_rates(const Snapshot& before, const Snapshot& now, double seconds) {
  std::vector<GpuRates> rates;
  for (const GpuSample& gpu : now.gpus) {
    GpuRates& rate = rates.emplace_back();
    rate.power_watts = gpu.power_watts;
    const auto old = std::find_if(before.gpus.begin(), before.gpus.end(),
                                  [&](const GpuSample& other) { return other.index == gpu.index; });
    if (old == before.gpus.end()) continue;
    const auto mean_watts = rate_of(old->energy_joules, gpu.energy_joules, seconds);
    if (mean_watts) rate.power_watts = mean_watts;
    rate.nvlink_sent_bytes_per_second =
        rate_of(old->nvlink_sent_bytes, gpu.nvlink_sent_bytes, seconds);
    rate.nvlink_received_bytes_per_second =
        rate_of(old->nvlink_received_bytes, gpu.nvlink_received_bytes, seconds);
  }
  return rates;
}

// Of a server on this machine; nothing where nobody tells a power, or no token came.
std::optional<double> joules_per_token(const View& view) {
  if (!view.is_local || view.output_tokens_per_second <= 0) return {};
  std::optional<double> watts = view.processor_watts;
  for (const GpuRates& rates : view.gpu_rates) {
    if (rates.power_watts) watts = watts.value_or(0) + *rates.power_watts;
  }
  if (!watts) return {};
  return *watts / view.output_tokens_per_second;
}

}  // namespace

View make_view(const Snapshot& before, const Snapshot& now, const std::string& url, bool is_local) {
  View view;
  view.url = url;
  view.is_local = is_local;
  view.now = now;
  const double seconds =
      std::max(std::chrono::duration<double>(now.time - before.time).count(), 1e-3);
  view.cpu_share = busy_share(before.machine.cpu.all, now.machine.cpu.all);
  view.core_shares = core_shares(before.machine.cpu, now.machine.cpu);
  if (now.process) {
    view.threads = thread_shares(before.process.value_or(ProcessSample{}), *now.process, seconds);
    for (const ThreadShare& thread : view.threads) view.process_cpu_share += thread.cpu_share;
  }
  view.others = other_processes(before, now, seconds);
  const auto rate = [&](uint64_t machine::MachineSample::*bytes) {
    const uint64_t first = before.machine.*bytes, last = now.machine.*bytes;
    return last >= first ? static_cast<double>(last - first) / seconds : 0;
  };
  view.disk_read_bytes_per_second = rate(&machine::MachineSample::disk_read_bytes);
  view.disk_written_bytes_per_second = rate(&machine::MachineSample::disk_written_bytes);
  // A server that was not there before has no rate yet.
  if (before.server.kind == now.server.kind) {
    const TokenGrowth tokens = token_growth(before.server, now.server);
    view.prompt_tokens_per_second = static_cast<double>(tokens.prompt) / seconds;
    view.output_tokens_per_second = static_cast<double>(tokens.output) / seconds;
  }
  view.cache_hit_share = cache_hit_share(now.server);
  view.gpu_rates = gpu_rates(before, now, seconds);
  view.processor_watts = rate_of(before.machine.energy_joules, now.machine.energy_joules, seconds);
  view.joules_per_token = joules_per_token(view);
  return view;
}

}  // namespace sluice::monitor
