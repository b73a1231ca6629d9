// A whole model on the CPU backend: prefill and decode speed, without server or sampler.
//
//   forward MODEL.gguf [prompt tokens] [decoded tokens] [sequences] [threads] [isa]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "model/model.h"

namespace {

using namespace sluice;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2)
    return std::puts("forward MODEL.gguf [prompt] [decode] [sequences] [threads] [isa]"), 1;
  const auto number = [&](int i, int fallback) { return argc > i ? std::atoi(argv[i]) : fallback; };
  const int prompt = number(2, 512), decode = number(3, 64), sequences = number(4, 1);
  const backend::CpuOptions cpu{number(5, 0), argc > 6 ? argv[6] : ""};
  const double start = now();
  backend::LoadOptions options;
  model::Model model(argv[1], backend::make_cpu_backend(cpu), options);
  backend::Backend& backend = model.backend();
  const int blocks = (prompt + decode) / backend::kBlockTokens + 1;
  backend.allocate_cache(blocks * sequences);
  std::printf("%s, loaded in %.2f s\n", backend.description().c_str(), now() - start);

  std::mt19937 random(1);
  const auto token = [&] {
    return static_cast<int32_t>(random() % static_cast<unsigned>(model.spec().vocab_size));
  };
  std::vector<std::vector<int32_t>> tables(static_cast<size_t>(sequences));
  for (int s = 0; s < sequences; ++s) {
    for (int b = 0; b < blocks; ++b) tables[static_cast<size_t>(s)].push_back(s * blocks + b);
  }
  double prefill_time = 1e9;
  for (int repeat = 0; repeat < 3; ++repeat) {
    double time = 0;
    for (auto& table : tables) {
      for (int done = 0; done < prompt;) {
        backend::Batch batch;
        const int count = std::min(options.max_batch_tokens, prompt - done);
        for (int i = 0; i < count; ++i) batch.tokens.push_back(token());
        batch.sequences.push_back({0, count, done, table});
        if (done + count == prompt) batch.logit_rows.push_back(count - 1);
        const double begin = now();
        backend.forward(batch);
        time += now() - begin;
        done += count;
      }
    }
    prefill_time = std::min(prefill_time, time);
  }
  double best_step = 1e9, decode_time = 0;
  for (int i = 0; i < decode; ++i) {
    backend::Batch batch;
    for (int s = 0; s < sequences; ++s) {
      batch.tokens.push_back(token());
      batch.sequences.push_back({s, 1, prompt + i, tables[static_cast<size_t>(s)]});
      batch.logit_rows.push_back(s);
    }
    const double begin = now();
    backend.forward(batch);
    best_step = std::min(best_step, now() - begin);
    decode_time += now() - begin;
  }
  std::printf(
      "prefill %d: %.1f t/s; decode %d sequences: %.1f t/s (best step %.2f ms = %.1f t/s)\n",
      prompt, prompt * sequences / prefill_time, sequences, decode * sequences / decode_time,
      best_step * 1e3, sequences / best_step);
}
