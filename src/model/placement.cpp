#include "model/placement.h"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <span>
#include <string_view>
#include <utility>

#include "backend/cuda/cuda_backend.h"
#include "backend/pipeline.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/threads.h"
#include "base/units.h"
#include "model/split.h"

namespace sluice::model {
namespace {

// The number behind "cuda:"; nothing for what is no GPU's name.
std::optional<int> cuda_index(const std::string& device) {
  if (device == "cuda") return 0;
  constexpr std::string_view kPrefix = "cuda:";
  if (!device.starts_with(kPrefix)) return {};
  int index = 0;
  const char* const end = device.data() + device.size();
  const auto [rest, error] = std::from_chars(device.data() + kPrefix.size(), end, index);
  if (error != std::errc() || rest != end || index < 0) return {};
  return index;
}

std::vector<std::string> names_in(const std::string& list) {
  std::vector<std::string> names;
  for (size_t start = 0; start <= list.size();) {
    const size_t comma = std::min(list.find(',', start), list.size());
    names.push_back(list.substr(start, comma - start));
    start = comma + 1;
  }
  return names;
}

// To open a GPU takes a context there: memory, and a part of a second. Of an idle one's memory so
// much may be missing, at most.
constexpr uint64_t kContextBytes = uint64_t{1} << 30;

struct Device {
  std::string name;
  uint64_t total_bytes = 0;                        // of a GPU's own memory
  std::unique_ptr<backend::Backend> backend = {};  // none: not opened
  uint64_t free_bytes = 0;  // of the memory where it lies, when it was opened

  bool is_gpu() const { return !backend->traits().uses_host_memory; }
};

// The devices that a placement allows, GPUs first, and which layers come where. Of "auto" only so
// many GPUs are opened as may be needed.
class Placer {
 public:
  Placer(const backend::Program& program, int trained_context, const Placement& placement,
         const backend::LoadOptions& options, const LoadNote& on_note)
      : program_(program), placement_(placement), options_(options), on_note_(on_note) {
    goals_ = cache_goals(placement.cache, trained_context);
    goals_.one = std::max(goals_.one, goals_.least);
    goals_.several = std::max(goals_.several, goals_.one);
    open_devices();
  }

  std::unique_ptr<backend::Backend> load();
  std::vector<PlannedStage> plan();

 private:
  void open_devices();
  void find_gpus();
  bool open_more_gpus();
  uint64_t open_for_auto(Device gpu);
  void open(Device device);
  void close_unused_gpus();
  void count_gpus();
  void note(const std::string& text) const {
    if (on_note_) on_note_(text);
  }
  // Whether "auto" goes on without a device that said this.
  bool is_passed_over(const Error& error) const;

  std::vector<Room> rooms() const;
  std::vector<Room> gpu_rooms() const;
  std::vector<int> choose();
  std::optional<std::vector<int>> choose_gpus();
  std::optional<std::vector<int>> choose_one_gpu(std::span<const Room> rooms) const;
  std::optional<std::vector<int>> choose_mixed(std::span<const Room> rooms) const;
  std::vector<int> exactly(int gpu_layers);
  uint64_t budget_of(const Device& device) const;
  bool is_held_by_others(std::span<const Room> rooms) const;
  Error shortage(std::span<const Room> rooms, int64_t num_blocks) const;
  std::unique_ptr<backend::Backend> load_on(const std::vector<int>& layers);

  const backend::Program& program_;
  const Placement& placement_;
  const backend::LoadOptions& options_;
  const LoadNote& on_note_;
  CacheGoals goals_;
  std::vector<Device> devices_;   // opened
  std::vector<Device> unopened_;  // GPUs that "auto" may take besides
  ptrdiff_t num_gpus_ = 0;        // the first of devices_
  bool has_full_gpu_ = false;     // one had no room for a context
};

uint64_t gpu_bytes(const std::string& driver, int index) {
  std::string reason;
  for (const backend::CudaDevice& gpu : backend::list_cuda_devices(driver, reason)) {
    if (gpu.index == index) return gpu.memory_bytes;
  }
  return 0;
}

void Placer::open(Device device) {
  const int num_threads = placement_.num_threads > 0 ? placement_.num_threads : usable_cores();
  if (const auto index = cuda_index(device.name)) {
    if (device.total_bytes == 0) device.total_bytes = gpu_bytes(placement_.cuda_driver, *index);
    device.backend = backend::make_cuda_backend({*index, placement_.cuda_driver});
  } else if (device.name == "reference") {
    device.backend = backend::make_reference_backend(num_threads);
  } else {
    device.backend = backend::make_cpu_backend({num_threads, placement_.isa});
  }
  device.free_bytes = device.backend->free_bytes();
  devices_.push_back(std::move(device));
}

void Placer::open_devices() {
  check_placement(placement_.device, placement_.gpu_layers);
  const bool is_auto = placement_.device == "auto";
  if (placement_.gpu_layers == 0 && placement_.device != "reference") {
    open({"cpu"});
  } else if (is_auto) {
    find_gpus();
    open_more_gpus();
  } else {
    for (const std::string& name : names_in(placement_.device)) open({name});
  }
  count_gpus();
  const bool has_host = num_gpus_ < std::ssize(devices_);
  if (!has_host && (is_auto || placement_.gpu_layers)) open({"cpu"});
}

void Placer::count_gpus() {
  num_gpus_ = std::count_if(devices_.begin(), devices_.end(),
                            [](const Device& device) { return device.is_gpu(); });
}

// Those with the most memory first, behind them those that models of ours are on.
void Placer::find_gpus() {
  std::string reason;
  auto gpus = backend::list_cuda_devices(placement_.cuda_driver, reason);
  if (gpus.empty()) note(reason + "; the model runs on the CPU");
  std::stable_sort(
      gpus.begin(), gpus.end(), [](const backend::CudaDevice& a, const backend::CudaDevice& b) {
        return a.is_in_use != b.is_in_use ? b.is_in_use : a.memory_bytes > b.memory_bytes;
      });
  for (const backend::CudaDevice& gpu : gpus) {
    unopened_.push_back({"cuda:" + std::to_string(gpu.index), gpu.memory_bytes});
  }
}

// Opens GPUs until none is left that could have more free memory than one of them; false: there was
// none that can be used.
bool Placer::open_more_gpus() {
  if (unopened_.empty()) return false;
  const size_t num_opened = devices_.size();
  uint64_t most_free = 0;
  std::vector<Device> left;
  for (Device& gpu : std::exchange(unopened_, {})) {
    if (most_free > 0 && most_free + kContextBytes >= gpu.total_bytes) {
      left.push_back(std::move(gpu));
    } else {
      most_free = std::max(most_free, open_for_auto(std::move(gpu)));
    }
  }
  unopened_ = std::move(left);
  const bool has_more = devices_.size() > num_opened;
  std::stable_sort(devices_.begin(), devices_.end(), [](const Device& a, const Device& b) {
    return a.is_gpu() != b.is_gpu() ? a.is_gpu() : a.free_bytes > b.free_bytes;
  });
  count_gpus();
  return has_more;
}

// Its free memory; 0 where it is passed over.
uint64_t Placer::open_for_auto(Device gpu) {
  const size_t num_opened = devices_.size();
  const std::string name = gpu.name;
  try {
    open(std::move(gpu));
    devices_.back().backend->plan(program_, options_, 0);  // throws for what it cannot run
    return devices_.back().free_bytes;
  } catch (const Error& error) {
    devices_.resize(num_opened);
    // Not even a context fits: room is asked for only when the other devices have too little.
    const bool is_full = error.code() == ErrorCode::kOutOfMemory;
    if (!is_full && !is_passed_over(error)) throw;
    has_full_gpu_ |= is_full;
    note(name + " is passed over: " + error.what());
    return 0;
  }
}

// Those that were opened to look at them, of "auto": once others have the layers.
void Placer::close_unused_gpus() {
  if (placement_.device != "auto") return;
  for (Device& device : devices_) {
    if (device.backend && device.is_gpu()) unopened_.push_back({device.name, device.total_bytes});
  }
  std::erase_if(devices_, [](const Device& device) { return device.backend && device.is_gpu(); });
}

bool Placer::is_passed_over(const Error& error) const {
  if (placement_.device != "auto") return false;
  if (error.code() == ErrorCode::kOutOfMemory) return placement_.passes_full_over;
  return error.code() == ErrorCode::kUnsupported || error.code() == ErrorCode::kInternal;
}

// A GPU keeps a little for the driver's own (graphs, local memory).
uint64_t Placer::budget_of(const Device& device) const {
  if (device.is_gpu()) {
    const uint64_t free = device.backend->free_bytes();
    return placement_.max_device_bytes.value_or(free - free / 64);
  }
  return placement_.max_host_bytes.value_or(available_memory_bytes());
}

std::vector<Room> Placer::rooms() const {
  std::vector<Room> all;
  for (const Device& device : devices_) all.push_back({device.backend.get(), budget_of(device)});
  return all;
}

std::vector<Room> Placer::gpu_rooms() const {
  std::vector<Room> gpus = rooms();
  gpus.resize(static_cast<size_t>(num_gpus_));
  return gpus;
}

// Layers for each of devices_.
std::vector<int> Placer::choose() {
  if (placement_.gpu_layers && num_gpus_ > 0) return exactly(*placement_.gpu_layers);
  if (auto layers = choose_gpus()) return *layers;
  const std::vector<Room> all = rooms(), gpus = gpu_rooms();
  if (!placement_.passes_full_over && is_held_by_others(gpus)) throw shortage(gpus, goals_.least);
  if (auto layers = choose_mixed(all)) return *layers;
  auto layers = split_layers_down(program_, options_, all, {goals_.several, goals_.least, {}});
  if (!layers) throw shortage(all, goals_.least);
  return *layers;
}

// GPUs with the CPU's help: with a smaller cache rather than with none of the layers on a GPU.
std::optional<std::vector<int>> Placer::choose_mixed(std::span<const Room> rooms) const {
  if (num_gpus_ == 0) return {};
  return split_down(goals_.several, goals_.one, [&](int64_t blocks) {
    auto layers = split_layers(program_, options_, rooms, {blocks, goals_.least, {}});
    const bool uses_gpu = layers && std::any_of(layers->begin(), layers->begin() + num_gpus_,
                                                [](int count) { return count > 0; });
    return uses_gpu ? layers : std::nullopt;
  });
}

// One GPU if it holds all and the cache of one sequence, else several of them together: as few as
// have room for the cache that is wished for, or all that there are.
std::optional<std::vector<int>> Placer::choose_gpus() {
  std::optional<std::vector<int>> layers;
  std::vector<Room> gpus;
  do {
    gpus = gpu_rooms();
    if ((layers = choose_one_gpu(gpus))) return layers;
    if (gpus.size() < 2) continue;
    layers = split_layers(program_, options_, gpus, {goals_.several, goals_.least, {}});
  } while (!layers && open_more_gpus());
  for (size_t i = 0; i < gpus.size() && devices_.size() > 1; ++i) {
    note("the model does not fit on " + devices_[i].name +
         " alone: " + shortage(std::span(gpus).subspan(i, 1), goals_.one).what());
  }
  if (!layers && gpus.size() > 1) {
    layers = split_down(goals_.several, goals_.one, [&](int64_t blocks) {
      return split_layers(program_, options_, gpus, {blocks, goals_.least, {}});
    });
  }
  if (layers) layers->resize(devices_.size(), 0);
  return layers;
}

std::optional<std::vector<int>> Placer::choose_one_gpu(std::span<const Room> gpus) const {
  for (size_t i = 0; i < gpus.size(); ++i) {
    if (split_layers(program_, options_, gpus.subspan(i, 1), {goals_.one, goals_.least, {}})) {
      std::vector<int> layers(devices_.size(), 0);
      layers[i] = program_.num_layers;
      return layers;
    }
  }
  return {};
}

std::vector<int> Placer::exactly(int gpu_layers) {
  const int wanted = std::min(gpu_layers, program_.num_layers);
  std::vector<Room> rooms;
  do {
    rooms = this->rooms();
    if (auto layers =
            split_layers(program_, options_, rooms, {goals_.several, goals_.least, wanted})) {
      return *layers;
    }
  } while (open_more_gpus());
  if (auto layers =
          split_layers_down(program_, options_, rooms, {goals_.several, goals_.least, wanted})) {
    return *layers;
  }
  const auto most = split_layers(program_, options_, rooms, {goals_.least, goals_.least, {}});
  if (!most) throw shortage(rooms, goals_.least);
  const int fits = std::accumulate(most->begin(), most->begin() + num_gpus_, 0);
  if (fits >= wanted) {
    throw Error(ErrorCode::kOutOfMemory,
                "not enough of the host's memory for the " +
                    std::to_string(program_.num_layers - wanted) +
                    " layers that are left to the CPU: " + std::to_string(fits) +
                    " fit on GPUs; raise --gpu-layers (num_gpu), or leave it out");
  }
  // Other models are unloaded only where that can help.
  const bool may_help = is_held_by_others(gpu_rooms());
  throw Error(may_help ? ErrorCode::kOutOfMemory : ErrorCode::kInvalidArgument,
              "not enough memory for " + std::to_string(wanted) + " of the model's " +
                  std::to_string(program_.num_layers) + " layers on " +
                  (num_gpus_ == 1 ? devices_.front().name : "the GPUs") + ": " +
                  std::to_string(fits) +
                  " fit; set --gpu-layers (num_gpu) to that, or leave it out");
}

// Room could be made on a GPU.
bool Placer::is_held_by_others(std::span<const Room> rooms) const {
  if (has_full_gpu_) return true;
  for (size_t i = 0; i < rooms.size(); ++i) {
    if (rooms[i].bytes < devices_[i].total_bytes / 10 * 9) return true;
  }
  return false;
}

// That all of the model, with so many blocks of cache, does not fit into these, taken as one.
Error Placer::shortage(std::span<const Room> rooms, int64_t num_blocks) const {
  const backend::MemoryUse use =
      rooms.front().device->plan(program_, options_, static_cast<int>(num_blocks));
  MemoryShortage shortage{use.weights, use.cache, use.workspace, 0};
  for (const Room& room : rooms) shortage.free_bytes += room.bytes;
  return memory_shortage(shortage);
}

// Takes the devices that have layers.
std::unique_ptr<backend::Backend> Placer::load_on(const std::vector<int>& layers) {
  std::vector<backend::PipelineStage> stages;
  for (size_t i = layers.size(); i-- > 0;) {  // the first one has the last layers
    if (layers[i] > 0) stages.push_back({std::move(devices_[i].backend), layers[i]});
  }
  std::unique_ptr<backend::Backend> backend = stages.size() == 1
                                                  ? std::move(stages.front().device)
                                                  : backend::make_pipeline(std::move(stages));
  close_unused_gpus();
  backend->load(program_, options_);
  return backend;
}

std::unique_ptr<backend::Backend> Placer::load() {
  while (true) {
    const std::vector<int> layers = choose();
    std::string gpus;
    for (size_t i = 0; i < static_cast<size_t>(num_gpus_); ++i) {
      if (layers[i] > 0) gpus += (gpus.empty() ? "" : ", ") + devices_[i].name;
    }
    try {
      return load_on(layers);
    } catch (const Error& error) {
      if (gpus.empty() || !is_passed_over(error)) throw;
      note(gpus + " is passed over: " + error.what());
    }
    const bool used_host = !devices_.back().backend;
    std::erase_if(devices_, [](const Device& device) { return !device.backend; });
    if (used_host) open({"cpu"});
    count_gpus();
    if (num_gpus_ == 0) open_more_gpus();
  }
}

std::vector<PlannedStage> Placer::plan() {
  const std::vector<int> layers = choose();
  std::vector<PlannedStage> stages;
  int end = program_.num_layers;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (layers[i] == 0) continue;
    const backend::MemoryUse use =
        plan_layers(*devices_[i].backend, program_, options_, end - layers[i], end, 0);
    stages.push_back({devices_[i].name, layers[i], budget_of(devices_[i]), use});
    end -= layers[i];
  }
  return stages;
}

[[noreturn]] void refuse_device(const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument,
              why +
                  "; auto, cpu, reference, cuda:0 and lists of GPUs with the CPU at the end "
                  "(cuda:0,cuda:1,cpu) are known");
}

}  // namespace

bool may_use_gpus(const std::string& device) { return device != "cpu" && device != "reference"; }

void check_placement(const std::string& device, const std::optional<int>& gpu_layers) {
  const std::vector<std::string> names = names_in(device);
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string& name = names[i];
    const bool is_whole_name = name == "auto" || name == "reference";
    if (!is_whole_name && name != "cpu" && !cuda_index(name)) {
      refuse_device("there is no device '" + name + "'");
    }
    if (is_whole_name && names.size() > 1) refuse_device("'" + name + "' stands alone");
    if (name == "cpu" && i + 1 < names.size()) {
      refuse_device("the CPU takes what the GPUs have no room for, and comes last");
    }
    for (size_t other = 0; other < i; ++other) {
      const bool is_again = names[other] == name || cuda_index(names[other]) == cuda_index(name);
      if (is_again) refuse_device("'" + name + "' is there twice");
    }
  }
  if (!gpu_layers) return;
  if (*gpu_layers < 0) {
    throw Error(ErrorCode::kInvalidArgument, "the number of layers on GPUs cannot be negative");
  }
  if (*gpu_layers > 0 && !may_use_gpus(device)) {
    throw Error(ErrorCode::kInvalidArgument,
                "layers on a GPU, but the device is " + device +
                    ": leave --gpu-layers out, or name a GPU with --device cuda:0");
  }
}

std::unique_ptr<backend::Backend> place_program(const backend::Program& program,
                                                int trained_context, const Placement& placement,
                                                const backend::LoadOptions& options,
                                                const LoadNote& on_note) {
  return Placer(program, trained_context, placement, options, on_note).load();
}

std::vector<PlannedStage> plan_placement(const backend::Program& program, int trained_context,
                                         const Placement& placement,
                                         const backend::LoadOptions& options,
                                         const LoadNote& on_note) {
  return Placer(program, trained_context, placement, options, on_note).plan();
}

}  // namespace sluice::model
