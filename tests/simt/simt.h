#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

// Runs CUDA kernels on the host (kernels see device.h). Blocks of a grid come one after another, or
// side by side where one waits for another; the threads of a block are fibres that change places at
// barriers, shuffles and other points where lanes meet. Everything a kernel does to memory is
// looked at:
//   - outside of what was allocated, misaligned, or read before it was written: an error;
//   - two threads and one word of which one is written, and no barrier, no fence with an atomic
//     between: a race, an error, whatever order the fibres happened to have;
//   - a collective that some lanes do not reach, or reach at another instruction: an error;
//   - how many sectors of 32 bytes a warp asked for and how many would do, how many times shared
//     memory was asked and how many would do: counted for each line of the kernel.
// One launch at a time; a process may not run the emulator on two threads at once.
namespace sluice::simt {

// Memory of the device: what a kernel may touch. Contents are undefined, as are reads of them.
class DeviceBytes {
 public:
  explicit DeviceBytes(size_t size_bytes, std::string name = "memory");
  ~DeviceBytes();
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;

  // The host's view; writing there (copy_in) makes the bytes defined.
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  void copy_in(const void* from, size_t size_bytes, size_t offset = 0);

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count, std::string name = "array")
      : bytes_(count * sizeof(T), std::move(name)) {}
  explicit DeviceArray(std::span<const T> values, std::string name = "array")
      : DeviceArray(values.size(), std::move(name)) {
    bytes_.copy_in(values.data(), values.size_bytes());
  }
  explicit DeviceArray(const std::vector<T>& values, std::string name = "array")
      : DeviceArray(std::span<const T>(values), std::move(name)) {}

  T* data() const { return reinterpret_cast<T*>(bytes_.data()); }
  size_t size() const { return bytes_.size() / sizeof(T); }
  std::vector<T> values() const { return {data(), data() + size()}; }
  void fill(const T& value) {
    const std::vector<T> values(size(), value);
    bytes_.copy_in(values.data(), bytes_.size());
  }

 private:
  DeviceBytes bytes_;
};

// For the fake driver: memory that stands at an address already.
void add_memory(std::byte* data, size_t size_bytes, std::string name, bool is_defined);
void remove_memory(std::byte* data);
void mark_defined(const std::byte* data, size_t size_bytes);
// Whether all of it lies in one allocation.
bool is_device_memory(const void* data, size_t size_bytes);

struct Size3 {
  unsigned x = 1, y = 1, z = 1;
};

struct Options {
  bool checks_memory = true;  // bounds, alignment
  bool checks_races = true;   // and what is read undefined
  bool counts = true;         // sectors and banks
  // Order in which the lanes of a warp, and the warps of a block, come: 0 as they are numbered,
  // else shuffled by this seed.
  uint32_t seed = 0;
  int resident_blocks = 8;  // that can wait for each other
};

// What the warps asked of one line of a kernel.
struct LineUse {
  std::string where;  // file:line
  bool is_shared = false, is_write = false;
  uint64_t requests = 0;      // of whole warps
  uint64_t bytes = 0;         // different ones
  uint64_t units = 0;         // sectors of global, passes over shared memory
  uint64_t needed_units = 0;  // had the bytes stood one behind the other
};

struct Report {
  std::vector<std::string> errors;
  std::vector<LineUse> lines;  // where units > needed_units first, the most wasteful first
  uint64_t global_bytes_read = 0, global_bytes_written = 0;
  uint64_t sectors = 0, needed_sectors = 0;  // of global memory, read and written
  uint64_t shared_passes = 0, needed_shared_passes = 0;
  uint64_t block_barriers = 0;   // each once a block
  uint64_t matrix_products = 0;  // mma of a warp

  // "" when there were none: for EXPECT_EQ(report.problems(), "").
  std::string problems() const;
  // The lines that ask for more than `most` times what would do, as text; "" when none do.
  std::string wasteful_lines(double most_sectors, double most_passes) const;
};

// Throws std::runtime_error for a kernel that nobody registered, a block larger than its bounds,
// and arguments of another size.
Report launch(const std::string& kernel, Size3 grid, Size3 block, size_t dynamic_shared_bytes,
              const void* args, size_t args_bytes, const Options& options = {});

template <typename Args>
Report launch(const std::string& kernel, Size3 grid, Size3 block, size_t dynamic_shared_bytes,
              const Args& args, const Options& options = {}) {
  return launch(kernel, grid, block, dynamic_shared_bytes, &args, sizeof(Args), options);
}

bool has_kernel(const std::string& name);
size_t kernel_args_bytes(const std::string& name);
int kernel_max_threads(const std::string& name);

}  // namespace sluice::simt
