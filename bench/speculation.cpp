// Prompt look-up decoding against plain decoding, alternately, in process: how much faster a model
// edits or repeats a text, and what guessing costs where it does not help.
//
//   speculation MODEL.gguf [clients, as 1,4,16] [rounds] [text file]
//
// Edits are played: whatever the model would say, the reply is the prompt's text with every 20th
// (40th) token changed, so that any model, random weights included, shows what a model that follows
// its instruction would. Prose is the model's own, sampled with the default settings.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <future>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "engine/engine.h"
#include "model/load.h"
#include "text/tokenizer.h"

namespace {

using namespace sluice;
using Tokens = std::vector<text::TokenId>;

constexpr int kTextTokens = 400;
constexpr int kContext = 1024;

struct Workload {
  std::string name;
  Tokens prompt;
  Tokens reply;  // empty: the model's own
};

struct Outcome {
  double tokens_per_second = 0;  // of all clients
  int num_drafted = 0, num_accepted = 0;
  std::vector<Tokens> replies;
};

// The backend, made to say a given reply to prompts of a given length: it may draw nothing else.
class Actor : public backend::Backend {
 public:
  Actor(backend::Backend& backend, int vocab_size)
      : backend_(backend), mask_words_((static_cast<size_t>(vocab_size) + 31) / 32) {}

  void play(const Workload& workload) { workload_ = &workload; }

  void submit(const backend::Batch& batch) override {
    batch_ = batch;
    if (!workload_->reply.empty()) restrict(batch_);
    backend_.submit(batch_);
  }
  backend::StepResult wait() override { return backend_.wait(); }
  backend::Traits traits() const override { return backend_.traits(); }

  // Not for the engine.
  std::string description() const override { return backend_.description(); }
  backend::MemoryUse plan(const backend::Program& program, const backend::LoadOptions& options,
                          int num_blocks) const override {
    return backend_.plan(program, options, num_blocks);
  }
  void load(backend::Program program, const backend::LoadOptions& options) override {
    backend_.load(std::move(program), options);
  }
  size_t cache_block_bytes() const override { return backend_.cache_block_bytes(); }
  void allocate_cache(int num_blocks) override { backend_.allocate_cache(num_blocks); }
  backend::MemoryUse memory() const override { return backend_.memory(); }

 private:
  void restrict(backend::Batch& batch) {
    const Workload& workload = *workload_;
    masks_.assign(batch.logit_rows.size(), std::vector<uint32_t>(mask_words_));
    size_t s = 0;
    for (size_t row = 0; row < batch.logit_rows.size(); ++row) {
      const int token = batch.logit_rows[row];
      while (token >= batch.sequences[s].first_token + batch.sequences[s].num_tokens) ++s;
      const backend::BatchSequence& sequence = batch.sequences[s];
      const int position = sequence.num_cached + token - sequence.first_token;
      const size_t next = static_cast<size_t>(position) + 1 - workload.prompt.size();
      if (next >= workload.reply.size()) continue;
      const auto id = static_cast<size_t>(workload.reply[next]);
      masks_[row][id / 32] = uint32_t{1} << id % 32;
      batch.samplings[row].mask = masks_[row];
    }
  }

  backend::Backend& backend_;
  const size_t mask_words_;
  const Workload* workload_ = nullptr;
  backend::Batch batch_;
  std::vector<std::vector<uint32_t>> masks_;  // of its rows
};

engine::Request make_request(const Workload& workload, int client, bool speculates) {
  engine::Request request;
  request.prompt = workload.prompt;
  request.max_tokens = kTextTokens;
  request.ignore_end_of_sequence = true;
  request.speculate = speculates;
  request.sampling.seed = static_cast<uint64_t>(client);
  if (!workload.reply.empty()) request.sampling.temperature = 0;
  return request;
}

Outcome run(engine::Engine& engine, const Workload& workload, int clients, bool speculates) {
  struct Client {
    Tokens reply;
    engine::Event last;
    std::promise<void> is_done;
  };
  std::vector<Client> all(static_cast<size_t>(clients));
  for (int i = 0; i < clients; ++i) {
    Client& client = all[static_cast<size_t>(i)];
    engine::Request request = make_request(workload, i, speculates);
    request.on_event = [&client](const engine::Event& event) {
      for (const engine::OutputToken& output : event.tokens) client.reply.push_back(output.token);
      if (!event.is_final) return;
      client.last = event;
      client.is_done.set_value();
    };
    engine.submit(std::move(request));
  }
  Outcome outcome;
  for (Client& client : all) {
    client.is_done.get_future().wait();
    const double seconds = std::chrono::duration<double>(client.last.timings.decode).count();
    outcome.tokens_per_second += (client.last.num_output_tokens - 1) / seconds;
    outcome.num_drafted += client.last.num_draft_tokens;
    outcome.num_accepted += client.last.num_accepted_tokens;
    outcome.replies.push_back(std::move(client.reply));
  }
  return outcome;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void compare(engine::Engine& engine, Actor& actor, const Workload& workload, int clients,
             int rounds) {
  actor.play(workload);
  std::vector<double> plain, guessed, ratios;
  int num_drafted = 0, num_accepted = 0;
  bool is_same = true;
  run(engine, workload, clients, false);  // to warm up
  for (int round = 0; round < rounds; ++round) {
    const Outcome without = run(engine, workload, clients, false);
    const Outcome with = run(engine, workload, clients, true);
    plain.push_back(without.tokens_per_second);
    guessed.push_back(with.tokens_per_second);
    ratios.push_back(with.tokens_per_second / without.tokens_per_second);
    num_drafted += with.num_drafted;
    num_accepted += with.num_accepted;
    is_same = is_same && without.replies == with.replies;
  }
  const double share = num_drafted > 0 ? 100.0 * num_accepted / num_drafted : 0;
  std::printf("| %-16s | %7d | %9.1f | %9.1f | %5.2f | %6.0f%% of %6d | %s |\n",
              workload.name.c_str(), clients, median(plain), median(guessed), median(ratios), share,
              num_drafted / rounds, is_same ? "yes" : "no");
  std::fflush(stdout);
}

Tokens tokens_of(const text::Tokenizer& tokenizer, const std::string& text) {
  return tokenizer.encode(text, {.add_special = false, .parse_special = false});
}

std::vector<Workload> make_workloads(const text::Tokenizer& tokenizer, const std::string& text) {
  Tokens original = tokens_of(tokenizer, text);
  original.resize(std::min<size_t>(original.size(), kTextTokens));
  Tokens prompt = tokens_of(tokenizer, "Correct this text.\n\n");
  prompt.insert(prompt.end(), original.begin(), original.end());
  const Tokens end = tokens_of(tokenizer, "\n\nThe corrected text:\n\n");
  prompt.insert(prompt.end(), end.begin(), end.end());

  std::mt19937 random(1);
  std::vector<Workload> workloads;
  for (const size_t every : {20, 40}) {
    Tokens changed = original;
    for (size_t i = every / 2; i < changed.size(); i += every) {
      changed[i] = original[random() % original.size()];
    }
    workloads.push_back({"edit, every " + std::to_string(every), prompt, changed});
  }
  workloads.push_back({"repeat", prompt, original});
  workloads.push_back({"prose", tokens_of(tokenizer, "Tell a story in 800 words:\n"), {}});
  return workloads;
}

std::string read_text(const char* path) {
  std::ifstream file(path);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (text.size() < 4000) std::exit((std::printf("%s: no text of 4,000 bytes\n", path), 1));
  return text.substr(1000);
}

std::vector<int> numbers(std::string list) {
  std::replace(list.begin(), list.end(), ',', ' ');
  std::vector<int> result;
  char* at = list.data();
  for (char* end = at; *at != '\0'; at = end)
    result.push_back(static_cast<int>(std::strtol(at, &end, 10)));
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::puts("speculation MODEL.gguf [clients] [rounds] [text]"), 1;
  const std::vector<int> clients = numbers(argc > 2 ? argv[2] : "1,4,16");
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 5;
  const std::string text = read_text(argc > 4 ? argv[4] : "/usr/share/common-licenses/GPL-3");

  backend::LoadOptions load;
  model::Model model = model::load_on(backend::make_cpu_backend({}), argv[1], load);
  const auto tokenizer = text::Tokenizer::from_gguf(model.file());
  engine::EngineOptions options;
  options.vocab_size = model.spec().vocab_size;
  options.context_length = kContext;
  options.enable_prefix_cache = false;
  const int most = *std::max_element(clients.begin(), clients.end());
  options.num_blocks = most * static_cast<int>(backend::blocks_for_tokens(kContext));
  model.backend().allocate_cache(options.num_blocks);
  Actor actor(model.backend(), options.vocab_size);
  engine::Engine engine(actor, *tokenizer, options);

  std::printf("%s, %d tokens a reply, medians of %d alternating rounds, tokens/s in all\n\n",
              model.backend().description().c_str(), kTextTokens, rounds);
  std::puts(
      "| workload | clients | without | with | ratio | guesses that were right | same text |");
  std::puts("|---|---|---|---|---|---|---|");
  for (const Workload& workload : make_workloads(*tokenizer, text)) {
    for (const int count : clients) compare(engine, actor, workload, count, rounds);
  }
}
