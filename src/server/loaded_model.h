#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
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

// A model that is ready to answer. Members are destroyed from the last to the first: the engine's
// thread ends before what it uses goes away.
struct LoadedModel {
  // Tests bring a device of their own instead of a model.
  std::unique_ptr<model::Model> model;
  std::unique_ptr<backend::Backend> own_backend;
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::unique_ptr<grammar::Compiler> grammars;        // for structured output
  std::unique_ptr<text::ChatTemplate> chat_template;  // null: the file has none that can be used
  std::string template_fault;                         // why the file's template cannot be; or ""
  std::vector<std::string> capabilities;              // "completion", "tools", "thinking", ...
  std::unique_ptr<engine::Engine> engine;
  int context_length = 0;  // the engine's limit, in tokens
  backend::MemoryUse memory;
  std::string backend_description;

  bool has_capability(std::string_view name) const;
};

struct LoadSettings {
  model::Placement placement;    // without the budget, which the models share
  int default_context = 4096;    // of a request that does not say
  int num_sequences = 8;         // how many requests at once the cache should have room for
  int longest_sequence = 32768;  // tokens of one request that the cache should have room for
  int max_queue = 512;
  backend::CacheType cache_type = backend::CacheType::kF16;
  bool speculate = false;  // prompt look-up for requests that do not say
};

// Loads the model's file. `budget_bytes`: what weights, workspace and cache may
// take together. `on_progress` gets a fraction from 0 to 1 from the calling thread's loading steps.
// Throws Error: what the steps throw, and kOutOfMemory with what was needed and what was free.
using LoadProgress = std::function<void(double)>;
std::unique_ptr<LoadedModel> load_model(const store::ModelRecord& record,
                                        const LoadSettings& settings, uint64_t budget_bytes,
                                        const LoadProgress& on_progress);

}  // namespace sluice::server
