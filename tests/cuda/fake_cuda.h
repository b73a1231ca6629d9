#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "backend/cuda/driver.h"

// The fake driver in this process. Tests say what kind of machine it is before they use a device.
namespace sluice::backend::cuda {

inline const char* fake_library() { return SLUICE_FAKECUDA_LIBRARY; }

// Tests that need nothing but a GPU run on a real one where this variable names its driver's
// library (scripts/gpu_check.sh); the others are skipped there.
inline bool is_on_real_gpu() { return std::getenv("SLUICE_TEST_CUDA_DRIVER") != nullptr; }
inline const char* gpu_library() {
  const char* const real = std::getenv("SLUICE_TEST_CUDA_DRIVER");
  return real ? real : fake_library();
}
#define SLUICE_NEEDS_THE_FAKE() \
  if (sluice::backend::cuda::is_on_real_gpu()) GTEST_SKIP() << "it needs the fake driver"

// The same under another name, for machines on which it does not start: a driver that has started
// is kept under its name.
inline std::string fake_library_anew() {
  std::string path = fake_library();
  return path.insert(path.rfind('/'), "/.");
}

template <typename Function>
Function* fake_function(const char* name) {
  void* const library = ::dlopen(fake_library(), RTLD_NOW | RTLD_LOCAL);
  return reinterpret_cast<Function*>(::dlsym(library, name));
}

// The words of SLUICE_FAKECUDA (tests/simt/fake_driver.cpp).
inline void configure_fake(const std::string& text) {
  if (is_on_real_gpu()) return;
  fake_function<void(const char*)>("fake_cuda_configure")(text.c_str());
}
// The `turn`-th of what `what` names fails from here on ("fail-alloc"); 0: none.
inline void fail_fake(const std::string& what, int turn) {
  fake_function<void(const char*)>("fake_cuda_change")((what + "=" + std::to_string(turn)).c_str());
}
inline long fake_counter(const char* name) {
  return fake_function<long(const char*)>("fake_cuda_counter")(name);
}

inline const Driver& fake_driver() { return driver(fake_library()); }

}  // namespace sluice::backend::cuda
