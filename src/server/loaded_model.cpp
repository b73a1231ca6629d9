#include "server/loaded_model.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "api/model_info.h"
#include "base/error.h"

namespace sluice::server {
namespace {

// A template that does not parse must not keep the model from completing raw prompts: who asks for
// a chat is told of the fault.
void read_template(const gguf::File& file, LoadedModel& model) {
  const auto source = file.get_string("tokenizer.chat_template");
  if (!source || source->empty()) return;
  try {
    model.chat_template = std::make_unique<text::ChatTemplate>(*source);
  } catch (const Error& error) {
    model.template_fault = error.what();
    spdlog::warn("chat template ignored: {}", error.what());
  }
}

// The last token has seen all others: the best guess for models that were not made for it.
engine::Pooling pooling_of(model::PoolingType type) {
  switch (type) {
    case model::PoolingType::kMean:
      return engine::Pooling::kMean;
    case model::PoolingType::kFirst:
      return engine::Pooling::kFirst;
    default:
      return engine::Pooling::kLast;
  }
}

}  // namespace

bool LoadedModel::has_capability(std::string_view name) const {
  return std::find(capabilities.begin(), capabilities.end(), name) != capabilities.end();
}

std::unique_ptr<LoadedModel> load_model(const store::ModelRecord& record,
                                        const LoadSettings& settings, uint64_t budget_bytes,
                                        const LoadProgress& on_progress) {
  if (record.model_path.empty()) {
    throw Error(ErrorCode::kUnsupported, "model '" + record.name.short_name() +
                                             "' has no GGUF weights; only GGUF models can be run");
  }
  auto loaded = std::make_unique<LoadedModel>();
  model::Placement placement = settings.placement;
  placement.max_host_bytes = budget_bytes;
  backend::LoadOptions options;
  options.on_progress = on_progress;
  options.cache_type = settings.cache_type;
  options.max_embedding_rows = options.max_batch_tokens;
  loaded->model = model::load_model(record.model_path, placement, options);
  loaded->tokenizer = text::Tokenizer::from_gguf(loaded->model->file());
  loaded->grammars = std::make_unique<grammar::Compiler>(*loaded->tokenizer);
  read_template(loaded->model->file(), *loaded);
  const std::string_view source =
      loaded->chat_template ? std::string_view(loaded->chat_template->source()) : "";
  loaded->capabilities = api::capabilities(loaded->model->file(), source);
  backend::Backend& backend = loaded->model->backend();
  const model::ModelSpec& spec = loaded->model->spec();
  model::CacheNeeds needs = model::cache_needs(*loaded->model, placement);
  needs.default_context = settings.default_context;
  needs.num_sequences = settings.num_sequences;
  needs.longest_sequence = settings.longest_sequence;
  const model::CachePlan plan = model::plan_cache(needs);
  backend.allocate_cache(plan.num_blocks);

  engine::EngineOptions engine_options;
  engine_options.vocab_size = spec.vocab_size;
  engine_options.embedding_length = spec.embedding_length;
  engine_options.pooling = pooling_of(spec.pooling);
  engine_options.speculate = settings.speculate;
  engine_options.context_length = plan.context_length;
  engine_options.num_blocks = plan.num_blocks;
  engine_options.max_batch_tokens = options.max_batch_tokens;
  engine_options.max_sequences = options.max_logit_rows;
  engine_options.max_logit_rows = options.max_logit_rows;
  engine_options.max_queue = settings.max_queue;
  loaded->engine = std::make_unique<engine::Engine>(backend, *loaded->tokenizer, engine_options);
  loaded->context_length = plan.context_length;
  loaded->memory = backend.memory();
  loaded->backend_description = backend.description();
  return loaded;
}

}  // namespace sluice::server
