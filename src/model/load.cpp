#include "model/load.h"

#include <algorithm>
#include <utility>

#include "model/split.h"

namespace sluice::model {
namespace {

// The file on what `place` makes of its program.
template <typename Place>
Model read_model(const std::string& path, const Place& place) {
  gguf::File file = gguf::File::open(path);
  ModelSpec spec = read_spec(file);
  std::unique_ptr<backend::Backend> device = place(build_program(spec, file), spec);
  file.check_unchanged();
  file.close();
  return {std::move(file), std::move(spec), std::move(device)};
}

}  // namespace

std::unique_ptr<Model> load_model(const std::string& path, const Placement& placement,
                                  const backend::LoadOptions& options, const LoadNote& on_note) {
  const auto place = [&](const backend::Program& program, const ModelSpec& spec) {
    return place_program(program, spec.context_length, placement, options, on_note);
  };
  return std::make_unique<Model>(read_model(path, place));
}

Model load_on(std::unique_ptr<backend::Backend> device, const std::string& path,
              const backend::LoadOptions& options) {
  return read_model(path, [&](backend::Program program, const ModelSpec&) {
    device->load(std::move(program), options);
    return std::move(device);
  });
}

CacheNeeds cache_needs(Model& model, const Placement& placement) {
  CacheNeeds needs;
  needs.wish = placement.cache;
  needs.trained_context = model.spec().context_length;
  for (const auto& [device, num_layers] : model.backend().stages()) {
    const backend::MemoryUse used = device->memory();
    CacheRoom room;
    room.block_bytes = device->cache_block_bytes();
    room.weights_bytes = used.weights;
    room.workspace_bytes = used.workspace;
    room.available_bytes = device->free_bytes();  // what weights and workspace left
    room.most_share = cache_share(*device);
    const bool is_hosts = device->traits().uses_host_memory;
    const auto& most = is_hosts ? placement.max_host_bytes : placement.max_device_bytes;
    if (most) {
      const uint64_t others = room.weights_bytes + room.workspace_bytes;
      room.available_bytes = std::min(room.available_bytes, *most - std::min(*most, others));
    }
    needs.rooms.push_back(room);
  }
  return needs;
}

}  // namespace sluice::model
