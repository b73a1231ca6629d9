#include "backend/cuda/driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "backend/cuda/device.h"
#include "base/error.h"
#include "cuda/fake_cuda.h"
#include "thrown.h"

namespace sluice::backend::cuda {
namespace {

using testing::HasSubstr;

std::string message_of_driver(const std::string& library) {
  try {
    const Driver driver(library);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(CudaDriver, SaysWhyThereIsNoGpu) {
  EXPECT_THAT(
      message_of_driver("libnosuchdriver.so"),
      HasSubstr("the NVIDIA driver is not installed (libnosuchdriver.so cannot be opened)"));
  EXPECT_THAT(message_of_driver("libm.so.6"), HasSubstr("libm.so.6 is no CUDA driver"));
  configure_fake("version=11080");
  EXPECT_THAT(message_of_driver(fake_library()),
              HasSubstr("the NVIDIA driver knows CUDA 11.8, needed is 12.0 or newer"));
  configure_fake("no-start");
  EXPECT_THAT(message_of_driver(fake_library()), HasSubstr("CUDA_VISIBLE_DEVICES"));
  configure_fake("");
  EXPECT_EQ(message_of_driver(fake_library()), "");
}

TEST(CudaDriver, ListsDevices) {
  configure_fake("devices=2,memory=64");
  const std::vector<DeviceInfo> devices = list_devices(fake_driver());
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_EQ(devices[1].name, "Emulated GPU 1");
  EXPECT_EQ(devices[1].memory_bytes, 64u << 20);
  EXPECT_EQ(devices[1].facts.compute_capability, 90);
  configure_fake("devices=0");
  EXPECT_TRUE(list_devices(fake_driver()).empty());
  EXPECT_THROW(Device(fake_driver(), 0), Error);
  configure_fake("capability=75");
  EXPECT_THROW(Device(fake_driver(), 0), Error);
}

TEST(CudaDevice, SaysWhenItsKernelsWereLeftOut) {
  configure_fake("no-binary");
  try {
    const Device device(fake_driver(), 0);
    FAIL() << "there are no kernels";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("built without kernels for the GPU Emulated GPU 0"));
  }
}

// Others on the same GPU are none the worse.
TEST(CudaDevice, SaysWhenTheDriverCannotLoadItsKernels) {
  configure_fake("");
  const Device other(fake_driver(), 0);
  fail_fake("no-jit", 1);
  const Error error = test::error_of([] { Device(fake_driver(), 0); });
  EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
  EXPECT_THAT(error.what(), HasSubstr("cannot load this program's kernels"));
  EXPECT_FALSE(other.is_lost());
}

// A driver of CUDA 12 refuses, in one way or another, what CUDA 13 has compiled.
TEST(CudaDevice, SaysWhenItsKernelsAreOfANewerCudaThanTheDriver) {
  const std::string older = std::to_string(CUDA_VERSION / 1000 * 1000 - 1000);
  const std::string compiler = "compiled by CUDA " + version_text(CUDA_VERSION);
  for (const char* refusal : {"bad-image", "no-binary"}) {
    SCOPED_TRACE(refusal);
    configure_fake(std::string(refusal) + ",version=" + older);
    const Driver driver(fake_library());
    const Error error = test::error_of([&] { Device(driver, 0); });
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr(compiler));
    EXPECT_THAT(error.what(), HasSubstr("it knows CUDA " + version_text(std::stoi(older))));
  }
}

// On a GPU, too, where gpu_check.sh asks this first.
TEST(CudaDevice, CanBeUsed) {
  configure_fake("");
  const Device device(driver(gpu_library()), 0);
  const PinnedBuffer out(device, 4096);
  const DeviceBuffer buffer(device, 4096, "a test");
  device.check(device.driver().cuMemsetD8Async(buffer.address(), 7, buffer.size(), device.stream()),
               "a");
  device.check(device.driver().cuMemcpyDtoHAsync_v2(out.data(), buffer.address(), out.size(),
                                                    device.stream()),
               "b");
  device.wait();
  for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out.data()[i], std::byte{7});
}

TEST(CudaDevice, CountsItsMemory) {
  configure_fake("memory=64,used=10");
  const Device device(fake_driver(), 0);
  EXPECT_EQ(device.memory().free_bytes, 54u << 20);
  {
    const DeviceBuffer buffer(device, 1000, "a test");
    EXPECT_EQ(device.memory().free_bytes, (54u << 20) - 1024);
    EXPECT_THROW(DeviceBuffer(device, 54u << 20, "too much"), Error);
  }
  EXPECT_EQ(device.memory().free_bytes, 54u << 20);
}

TEST(CudaDevice, CopiesInOrder) {
  configure_fake("");
  const Device device(fake_driver(), 0);
  const Driver& driver = device.driver();
  const DeviceBuffer a(device, 4096, "a"), b(device, 4096, "b");
  const PinnedBuffer in(device, 4096), out(device, 4096);
  std::memset(in.data(), 7, in.size());
  std::memset(out.data(), 1, out.size());
  driver.cuMemcpyHtoDAsync_v2(a.address(), in.data(), 4096, device.stream());
  driver.cuMemcpyDtoDAsync_v2(b.address(), a.address(), 4096, device.stream());
  driver.cuMemcpyDtoHAsync_v2(out.data(), b.address(), 4096, device.stream());
  device.wait();
  EXPECT_EQ(std::memcmp(in.data(), out.data(), 4096), 0);
  EXPECT_EQ(driver.cuMemcpyHtoDAsync_v2(a.address() + 1, in.data(), 4096, device.stream()),
            CUDA_ERROR_INVALID_VALUE);
}

}  // namespace
}  // namespace sluice::backend::cuda
