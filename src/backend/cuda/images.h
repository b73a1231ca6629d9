#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace sluice::backend::cuda {

// A kernel file of this folder, compiled: cubins and PTX in one ("fatbin"), as cuModuleLoadData
// takes it. Made by cmake/Cuda.cmake.
struct KernelImage {
  std::string_view name;  // of the file, without its ending
  std::span<const std::byte> data;
};
std::vector<KernelImage> kernel_images();

}  // namespace sluice::backend::cuda
