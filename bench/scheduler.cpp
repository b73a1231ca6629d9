// What the engine costs beside the forward pass: scheduling and sampling per step at 64 sequences,
// sampling per token by vocabulary and settings, and the memory of 10,000 queued requests.
//
//   bench_scheduler

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "engine/fake_backend.h"
#include "engine/scheduler.h"
#include "gguf/file.h"
#include "gguf/writer.h"
#include "text/tokenizer.h"

namespace sluice::engine {
namespace {

constexpr int kSequences = 64;

// Processor time, of this thread or of all: other programs on the machine do not count.
double cpu_microseconds(clockid_t clock = CLOCK_THREAD_CPUTIME_ID) {
  timespec time{};
  clock_gettime(clock, &time);
  return 1e6 * static_cast<double>(time.tv_sec) + 1e-3 * static_cast<double>(time.tv_nsec);
}

// Normal logits: a heavier tail of likely tokens than a real model's, so no easier to cut.
std::vector<float> random_logits(size_t size) {
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  std::vector<float> logits(size);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

std::vector<text::TokenId> some_prompt(int size, int first) {
  std::vector<text::TokenId> prompt(static_cast<size_t>(size));
  std::iota(prompt.begin(), prompt.end(), first);
  return prompt;
}

// Decode steps of 64 sequences with 512 to 1,512 tokens each, without sampling.
void bench_scheduling() {
  constexpr int kSteps = 1000;
  SchedulerOptions options;
  options.num_blocks = kSequences * 120;
  options.max_sequences = kSequences;
  Scheduler scheduler(options);
  for (int i = 0; i < kSequences; ++i) {
    scheduler.add(static_cast<RequestId>(i + 1), some_prompt(512, i * 1000));
  }
  backend::Batch batch;
  const auto step = [&] {
    const auto planned = scheduler.plan(Clock::now());
    const std::vector<Chunk> chunks(planned.begin(), planned.end());
    make_batch(chunks, batch);
    scheduler.complete();
    for (const Chunk& chunk : chunks) {
      if (chunk.wants_logits) scheduler.append(*chunk.sequence, 7);
    }
    return chunks.size();
  };
  int num_prefill_steps = 0;
  const double prefill_begin = cpu_microseconds();
  while (scheduler.find(kSequences)->tokens.size() == 512) {
    step();
    ++num_prefill_steps;
  }
  const double begin = cpu_microseconds();
  for (int i = 0; i < kSteps; ++i) step();
  const double end = cpu_microseconds();
  std::printf("scheduling, %d sequences\n", kSequences);
  std::printf("  %-40s %8.1f us\n", "a step of prefill",
              (begin - prefill_begin) / num_prefill_steps);
  std::printf("  %-40s %8.1f us\n", "a step of decode", (end - begin) / kSteps);
}

void bench_sampling() {
  struct Setting {
    const char* name;
    std::function<void(backend::RowSampling&)> change;
  };
  const std::vector<uint32_t> ones(262'144 / 32, ~uint32_t{0});
  using Row = backend::RowSampling;
  const auto plain = [](Row& row) { row.params.top_k = 0, row.params.top_p = 1; };
  const std::vector<Setting> settings = {
      {"greedy", [](Row& row) { row.params.temperature = 0; }},
      {"default (top_k 40, top_p 0.9)", [](Row&) {}},
      {"default and penalties", [](Row& row) { row.params.repeat_penalty = 1.1f; }},
      {"default and a mask of ones", [&](Row& row) { row.mask = ones; }},
      {"default and logprobs, 5 best", [](Row& row) { row.num_top_logprobs = 5; }},
      {"top_p 0.9 only", [](Row& row) { row.params.top_k = 0; }},
      {"min_p 0.05 only", [=](Row& row) { plain(row), row.params.min_p = 0.05f; }},
      {"typical_p 0.9 only", [=](Row& row) { plain(row), row.params.typical_p = 0.9f; }},
      {"temperature only", plain},
  };
  std::printf("\nsampling, us a token   ");
  const std::vector<int> sizes = {49'152, 128'256, 262'144};
  for (const int size : sizes) std::printf("%10d", size);
  std::printf(" tokens\n");
  const auto history = some_prompt(500, 0);
  const auto time = [&](int size, backend::RowSampling& row) {
    constexpr int kRepeats = 40;
    std::vector<float> logits = random_logits(static_cast<size_t>(size));
    backend::sample_row({logits}, row);
    const double begin = cpu_microseconds();
    for (int i = 0; i < kRepeats; ++i, ++row.position) backend::sample_row({logits}, row);
    return (cpu_microseconds() - begin) / kRepeats;
  };
  for (const Setting& setting : settings) {
    std::printf("  %-32s", setting.name);
    backend::RowSampling row;
    row.history = std::span(history).last(64);
    setting.change(row);
    for (const int size : sizes) std::printf("%10.0f", time(size, row));
    std::printf("\n");
  }
}

// A vocabulary of `size` words.
class Words {
 public:
  explicit Words(int size) : bytes_(make(size)), file_(gguf::File::parse(bytes_)) {
    tokenizer_ = text::Tokenizer::from_gguf(file_);
  }
  const text::Tokenizer& get() const { return *tokenizer_; }

 private:
  static std::vector<std::byte> make(int size) {
    std::vector<std::string> words;
    for (int i = 0; i < size; ++i) words.push_back("w" + std::to_string(i));
    gguf::Writer writer;
    writer.set_string("tokenizer.ggml.model", "gpt2");
    writer.set_string("tokenizer.ggml.pre", "gpt-2");
    writer.set_strings("tokenizer.ggml.tokens", words);
    writer.set_int32s("tokenizer.ggml.token_type", std::vector<int32_t>(words.size(), 1));
    writer.set_strings("tokenizer.ggml.merges", {});
    return writer.bytes();
  }
  std::vector<std::byte> bytes_;
  gguf::File file_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
};

// The whole engine with a forward pass that takes no time.
void bench_engine(int vocab_size) {
  const Words words(vocab_size);
  std::vector<float> logits;
  const std::vector<float> row = random_logits(static_cast<size_t>(vocab_size));
  for (int i = 0; i < kSequences; ++i) logits.insert(logits.end(), row.begin(), row.end());
  EngineOptions options;
  options.vocab_size = vocab_size;
  options.num_blocks = kSequences * 40;
  std::atomic<int> num_left = kSequences;
  FakeBackend backend([&](const backend::Batch& batch) {
    return ForwardOutput{
        std::span(logits).first(batch.logit_rows.size() * static_cast<size_t>(vocab_size)), {}};
  });
  Engine engine(backend, words.get(), options);
  const double begin = cpu_microseconds(CLOCK_PROCESS_CPUTIME_ID);
  for (int i = 0; i < kSequences; ++i) {
    Request request;
    request.prompt = some_prompt(100, i * 100);
    request.max_tokens = 300;
    request.on_event = [&](const Event& event) { num_left -= event.is_final ? 1 : 0; };
    engine.submit(request);
  }
  while (num_left > 0 || engine.stats().num_running > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const double used = cpu_microseconds(CLOCK_PROCESS_CPUTIME_ID) - begin;
  std::printf("  vocabulary of %7d tokens               %8.1f us\n", vocab_size,
              used / static_cast<double>(engine.stats().num_steps));
}

size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  size_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// In a fresh process, or the memory of earlier measurements would be used again.
void bench_queue() {
  constexpr int kRequests = 10'000;
  constexpr int kVocab = 1000;
  const Words words(kVocab);
  std::vector<float> logits(kSequences * kVocab, 1.0f);
  EngineOptions options;
  options.vocab_size = kVocab;
  options.num_blocks = 2000;
  options.max_queue = kRequests;
  FakeBackend backend([&](const backend::Batch& batch) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return ForwardOutput{std::span(logits).first(batch.logit_rows.size() * kVocab), {}};
  });
  Engine engine(backend, words.get(), options);
  const size_t before = resident_bytes();
  for (int i = 0; i < kRequests; ++i) {
    Request request;
    request.prompt = some_prompt(500, 0);
    request.stop_strings = {"</s>", "User:"};
    request.on_event = [](const Event&) {};
    engine.submit(std::move(request));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const EngineStats stats = engine.stats();
  std::printf("%d requests of 500 tokens queued, %d running: %.1f MB\n\n", stats.num_waiting,
              stats.num_running, static_cast<double>(resident_bytes() - before) * 1e-6);
}

}  // namespace
}  // namespace sluice::engine

int main() {
  sluice::engine::bench_queue();
  sluice::engine::bench_scheduling();
  sluice::engine::bench_sampling();
  std::printf("\na step of the engine beside the forward pass, %d sequences, default sampling\n",
              sluice::engine::kSequences);
  for (const int vocab_size : {49'152, 128'256}) sluice::engine::bench_engine(vocab_size);
}
