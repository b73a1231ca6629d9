#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "backend/cuda/driver.h"
#include "backend/cuda/launch.h"

namespace sluice::backend::cuda {

// A GPU as the driver lists it.
struct DeviceInfo {
  int index = 0;  // as CUDA counts, after CUDA_VISIBLE_DEVICES
  std::string name;
  std::string bus_id;  // "0000:3B:00.0"
  size_t memory_bytes = 0;
  bool is_in_use = false;  // there is a Device of it
  DeviceFacts facts;

  // Why it cannot be used, if that is known before it is opened: "too old (compute ...".
  std::string fault() const;
};
// Opens none of them. Throws what driver() throws.
std::vector<DeviceInfo> list_devices(const Driver& driver);

// A GPU in use: its context, a stream, the kernels. Whoever calls anything of it must have made it
// current on that thread (make_current), once; one thread at a time.
//
// A failure that leaves the GPU's context unusable (an illegal access, a launch that failed) is
// told by every later call too: is_lost() then, of all that use the GPU in this process, as they
// share its context, and the only cure is to destroy all of them.
class Device {
 public:
  // Throws Error(kInvalidArgument) for an index that is not there, Error(kUnsupported) for a GPU
  // that is too old, Error(kBusy) for one that is lost and still in use, and what a failing driver
  // says.
  Device(const Driver& driver, int index);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const Driver& driver() const { return driver_; }
  const DeviceInfo& info() const { return info_; }
  CUcontext context() const { return context_; }
  CUstream stream() const { return stream_; }
  void make_current() const;

  // Throws Error for a call that failed, and remembers a failure that cannot be got over.
  void check(CUresult result, const char* what) const;
  bool is_lost() const { return *is_lost_; }  // from any thread

  // Of the GPU now, all processes together.
  struct Memory {
    size_t free_bytes = 0, total_bytes = 0;
  };
  Memory memory() const;

  // The kernel of that name. Throws Error(kInternal) when there is none.
  CUfunction kernel(const char* name) const;
  // What the list says, on the stream.
  void run(const LaunchList& list) const;
  // Until all that was put on the stream is done; the thread sleeps.
  void wait() const;
  // The same after a failure, or before one: nothing runs any more that uses what is freed next.
  void settle() const noexcept { driver_.cuStreamSynchronize(stream_); }

 private:
  void open_stream();
  void close_stream();
  void load_kernels();
  int static_shared_bytes(CUfunction function) const;

  const Driver& driver_;
  DeviceInfo info_;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
  CUevent done_ = nullptr;
  std::vector<CUmodule> modules_;
  mutable std::unordered_map<std::string, CUfunction> kernels_;
  std::shared_ptr<std::atomic<bool>> is_lost_;  // of all that use this GPU
};

// At its end nothing runs on the device's stream any more, whatever happened.
class Settled {
 public:
  explicit Settled(const Device& device) : device_(device) {}
  ~Settled() { device_.settle(); }
  Settled(const Settled&) = delete;
  Settled& operator=(const Settled&) = delete;

 private:
  const Device& device_;
};

// Memory of a device. Throws Error(kOutOfMemory) with what was needed, for what, and what was free.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(const Device& device, size_t size_bytes, const std::string& what);
  ~DeviceBuffer() { release(); }
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    swap(other);
    return *this;
  }

  std::byte* data() const { return reinterpret_cast<std::byte*>(address_); }
  CUdeviceptr address() const { return address_; }
  size_t size() const { return size_; }

 private:
  void swap(DeviceBuffer& other) {
    std::swap(device_, other.device_);
    std::swap(address_, other.address_);
    std::swap(size_, other.size_);
  }
  void release();

  const Device* device_ = nullptr;
  CUdeviceptr address_ = 0;
  size_t size_ = 0;
};

// Memory of the host that the device reads and writes itself.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(const Device& device, size_t size_bytes);
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept { swap(other); }
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    swap(other);
    return *this;
  }

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void swap(PinnedBuffer& other) {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  const Device* device_ = nullptr;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace sluice::backend::cuda
