#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "engine/engine.h"
#include "grammar/compiler.h"
#include "model/load.h"
#include "model/model.h"
#include "store/store.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace sluice::server {

// The chat template of a model's file. One that does not parse must not keep the model from
// completing raw prompts: who asks for a chat is told of the fault.
struct FileTemplate {
  std::unique_ptr<text::ChatTemplate> parsed;  // null: there is none that can be used
  std::string fault;                           // why; "" when there is none at all
};
FileTemplate read_chat_template(const gguf::File& file);

// A model that is ready to answer. Members are destroyed from the last to the first: the engine's
// thread ends before what it uses goes away.
struct LoadedModel {
  // Tests bring a device of their own instead of a model.
  std::unique_ptr<model::Model> model;
  std::unique_ptr<backend::Backend> own_backend;
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::unique_ptr<grammar::Compiler> grammars;  // for structured output
  FileTemplate chat_template;
  bool completes = true;  // false: the file's model is for embeddings alone
  std::unique_ptr<engine::Engine> engine;
  int context_length = 0;  // the engine's limit, in tokens
  backend::MemoryUse memory;
  std::string backend_description;
  // Where its layers lie when they are split, in the order of the forward pass; else empty.
  struct Part {
    std::string device;  // "cuda:0"
    int num_layers = 0;
    backend::MemoryUse memory;
  };
  std::vector<Part> parts;

  bool is_lost() const;  // its device has failed: backend::Backend::is_lost
};

struct LoadSettings {
  model::Placement placement;    // without the budgets and what follows
  int default_context = 4096;    // of a request that does not say
  int num_sequences = 8;         // how many requests at once the cache should have room for
  int longest_sequence = 32768;  // tokens of one request that the cache should have room for
  int max_queue = 512;
  backend::CacheType cache_type = backend::CacheType::kF16;
  bool speculate = false;  // prompt look-up for requests that do not say
};

// What a model may take.
struct LoadBudget {
  uint64_t host_bytes = 0;  // weights, workspace and cache together, what is not on a GPU
  // Models that nobody uses could make room on a GPU: one that is full is no reason to take another
  // device.
  bool may_make_room = false;
  std::optional<int> gpu_layers;  // by who has it loaded (num_gpu); none: as the settings say
};

// Loads the model's file. `on_progress` gets a fraction from 0 to 1 from the calling thread's
// loading steps. Throws Error: what the steps throw, and kOutOfMemory with what was needed and what
// was free.
using LoadProgress = std::function<void(double)>;
std::unique_ptr<LoadedModel> load_model(const store::ModelRecord& record,
                                        const LoadSettings& settings, const LoadBudget& budget,
                                        const LoadProgress& on_progress);

}  // namespace sluice::server
