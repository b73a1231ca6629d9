#include "server/loaded_model.h"

#include <spdlog/spdlog.h>

#include "api/model_info.h"
#include "base/error.h"

namespace sluice::server {
namespace {

// The last token has seen all others: the best guess for models that were not made for it.
engine::Pooling pooling_of(model::PoolingType type) {
  switch (type) {
    case model::PoolingType::kMean:
      return engine::Pooling::kMean;
    case model::PoolingType::kFirst:
      return engine::Pooling::kFirst;
    case model::PoolingType::kRank:
      throw Error(ErrorCode::kUnsupported,
                  "the model ranks pairs of texts (pooling type rank), which is not supported; "
                  "/v1/rerank takes models of embeddings");
    default:
      return engine::Pooling::kLast;
  }
}

}  // namespace

FileTemplate read_chat_template(const gguf::File& file) {
  FileTemplate result;
  const auto source = file.get_string("tokenizer.chat_template");
  if (!source || source->empty()) return result;
  try {
    result.parsed = std::make_unique<text::ChatTemplate>(*source);
  } catch (const Error& error) {
    result.fault = error.what();
  }
  return result;
}

bool LoadedModel::is_lost() const {
  return model ? model->backend().is_lost() : own_backend && own_backend->is_lost();
}

std::unique_ptr<LoadedModel> load_model(const store::ModelRecord& record,
                                        const LoadSettings& settings, const LoadBudget& budget,
                                        const LoadProgress& on_progress) {
  if (record.model_path.empty()) {
    throw Error(ErrorCode::kUnsupported, "model '" + record.name.short_name() +
                                             "' has no GGUF weights; only GGUF models can be run");
  }
  auto loaded = std::make_unique<LoadedModel>();
  model::Placement placement = settings.placement;
  placement.max_host_bytes = budget.host_bytes;
  placement.passes_full_over = !budget.may_make_room;
  placement.cache = {settings.default_context, settings.num_sequences, settings.longest_sequence};
  if (budget.gpu_layers && model::may_use_gpus(placement.device))
    placement.gpu_layers = budget.gpu_layers;
  backend::LoadOptions options;
  options.on_progress = on_progress;
  options.cache_type = settings.cache_type;
  options.max_embedding_rows = options.max_batch_tokens;
  loaded->model = model::load_model(record.model_path, placement, options,
                                    [](const std::string& note) { spdlog::info("{}", note); });
  loaded->tokenizer = text::Tokenizer::from_gguf(loaded->model->file());
  loaded->grammars = std::make_unique<grammar::Compiler>(*loaded->tokenizer);
  loaded->chat_template = read_chat_template(loaded->model->file());
  if (const std::string& fault = loaded->chat_template.fault; !fault.empty()) {
    spdlog::warn("{}: chat template ignored: {}", record.name.short_name(), fault);
  }
  loaded->completes = !api::is_for_embeddings(loaded->model->file());
  backend::Backend& backend = loaded->model->backend();
  const model::ModelSpec& spec = loaded->model->spec();
  const model::CachePlan plan = model::plan_cache(model::cache_needs(*loaded->model, placement));
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
  for (const auto& [device, num_layers] : backend.stages()) {
    if (num_layers == 0) continue;  // not split
    const std::string text = device->description();
    loaded->parts.push_back({text.substr(0, text.find(' ')), num_layers, device->memory()});
  }
  return loaded;
}

}  // namespace sluice::server
