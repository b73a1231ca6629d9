// Prints what products the CUDA backend would launch for a model on a device, one JSON object a
// line, or several for a launch whose blocks have several types: bench/gpu_model.py reads it.
//
//     gpu_launches COMPUTE_CAPABILITY MULTIPROCESSORS SHARED_BYTES ROWS PREFILL(0|1) [apart]
//
// apart: gate and up as where the activation is a kernel of its own (elementwise.cu).
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "backend/cuda/linear.h"
#include "backend/cuda/linear_low.h"
#include "backend/cuda/linear_many.h"
#include "backend/cuda/linear_mixed.h"

namespace {

using namespace sluice;
using namespace sluice::backend::cuda;
using quant::Type;

struct Matrix {
  Type type;
  int64_t rows, columns;
};
struct Product {
  const char* name;
  std::vector<Matrix> matrices;  // that read the same rows
  int times;                     // a step
  bool is_gated = false;
};
struct Model {
  const char* name;
  std::vector<Product> products;
};

// A Llama in Q4_0 or Q4_K_M (which has half of the v and down matrices, and the head, in Q6_K).
Model llama(const char* name, Type type, int64_t width, int64_t kv, int64_t ffn, int layers) {
  const bool is_mixed = type == Type::kQ4_K;
  const int some = is_mixed ? layers / 2 : 0;
  Model model{name, {}};
  model.products = {
      {"q k v", {{type, width, width}, {type, kv, width}, {type, kv, width}}, layers - some},
      {"o", {{type, width, width}}, layers},
      {"gate up", {{type, ffn, width}, {type, ffn, width}}, layers, true},
      {"down", {{type, width, ffn}}, layers - some}};
  if (is_mixed) {
    model.products.push_back(
        {"q k v'", {{type, width, width}, {type, kv, width}, {Type::kQ6_K, kv, width}}, some});
    model.products.push_back({"down'", {{Type::kQ6_K, width, ffn}}, some});
  }
  model.products.push_back({"head", {{Type::kQ6_K, 128256, width}}, 1});
  return model;
}

// Of a chunk, which the kernel takes at a time. The models here have none of types without scales.
int stage_quarters(std::string_view kernel) {
  if (kernel.starts_with("linear_wide32")) return Wide32::kQuarters;
  if (kernel.starts_with("linear_wide64")) return Wide64::kQuarters;
  if (kernel.starts_with("linear_wide128")) return Wide128::kQuarters;
  return Many32::kQuarters;
}

LaunchList launches_of(const Product& product, const DeviceFacts& device, int rows, bool is_prefill,
                       bool is_apart) {
  LaunchList list;
  HalfRows in;
  in.stride = product.matrices.front().columns;
  static float scratch[1];
  if (product.is_gated && !is_apart) {
    static uint16_t out[1];
    const Matrix& m = product.matrices.front();
    GatedTarget target;
    target.layout = matrix_layout(m.type, m.rows, m.columns);
    target.out = out;
    target.out_stride = m.rows;
    add_gated_linear(list, device, in, target, rows, is_prefill, scratch);
    return list;
  }
  std::vector<LinearTarget> targets;
  for (const Matrix& m : product.matrices) {
    LinearTarget target;
    target.layout = matrix_layout(m.type, m.rows, m.columns);
    target.out_stride = m.rows;
    targets.push_back(target);
  }
  add_linear(list, device, in, targets, rows, is_prefill, scratch);
  return list;
}

void print_work(const LowArgs& args) {
  std::cout << ",\"tiles\":" << args.num_tiles << ",\"tile_bytes\":" << args.tile_bytes
            << ",\"splits\":" << args.num_splits << ",\"slots\":" << args.num_slots
            << ",\"column_warps\":" << args.column_warps << ",\"warp_tiles\":" << kLowTiles
            << ",\"matrix_rows\":" << args.num_tiles * kTileRows;
}
void print_work(const ManyArgs& args) {
  int64_t num_rows = 0;
  for (int i = 0; i < args.num_parts; ++i) num_rows += args.parts[i].rows;
  std::cout << ",\"blocks\":" << args.num_blocks << ",\"tile_bytes\":" << args.tile_bytes
            << ",\"token_blocks\":" << args.num_token_blocks
            << ",\"units\":" << args.end_unit - args.first_unit << ",\"slots\":" << args.num_slots
            << ",\"is_split\":" << args.is_split << ",\"matrix_rows\":" << num_rows;
}

// A line for each type that a launch has blocks for.
template <class Args>
void print_types(const std::string& common, const Launch& launch) {
  const auto line = [&](const Args& args, std::string kernel, int num_blocks) {
    std::cout << common << ",\"kernel\":\"" << launch.kernel << "\",\"loop\":\"" << kernel
              << "\",\"grid\":" << num_blocks << ",\"stage_quarters\":" << stage_quarters(kernel);
    print_work(args);
    std::cout << "}\n";
  };
  const std::string name = launch.kernel;
  const size_t mixed = name.find("mixed");
  if (mixed == std::string::npos) {
    Args args;
    std::memcpy(&args, launch.args.data(), sizeof(args));
    return line(args, name, static_cast<int>(launch.grid.x));
  }
  MixedArgs<Args> args;
  std::memcpy(&args, launch.args.data(), sizeof(args));
  for (int i = 0; i < kNumMixed; ++i) {
    const int num_blocks = args.end_block[i] - (i > 0 ? args.end_block[i - 1] : 0);
    std::string type(quant::type_info(kMixedTypes[i]).name);
    std::transform(type.begin(), type.end(), type.begin(), [](char c) { return std::tolower(c); });
    if (num_blocks > 0) line(args.of[i], name.substr(0, mixed) + type, num_blocks);
  }
}

void print(const Model& model, const Product& product, const DeviceFacts& device, int rows,
           bool is_prefill, bool is_apart) {
  const LaunchList list = launches_of(product, device, rows, is_prefill, is_apart);
  for (size_t i = 0; i < list.size(); ++i) {
    std::ostringstream common;
    common << "{\"model\":\"" << model.name << "\",\"product\":\"" << product.name
           << "\",\"launch\":" << i << ",\"times\":" << product.times
           << ",\"threads\":" << list[i].block.x << ",\"shared\":" << list[i].shared_bytes
           << ",\"columns\":" << product.matrices.front().columns
           << ",\"is_gated\":" << (product.is_gated && !is_apart ? 1 : 0);
    if (rows <= kLowRows[1] && !is_prefill) {
      print_types<LowArgs>(common.str(), list[i]);
    } else {
      print_types<ManyArgs>(common.str(), list[i]);
    }
  }
  if (product.is_gated && is_apart) {
    std::cout << "{\"model\":\"" << model.name << "\",\"product\":\"activation\",\"launch\":0"
              << ",\"times\":" << product.times
              << ",\"kernel\":\"gated_activation\",\"width\":" << product.matrices.front().rows
              << "}\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6 && argc != 7) {
    std::cerr
        << "gpu_launches COMPUTE_CAPABILITY MULTIPROCESSORS SHARED_BYTES ROWS PREFILL [apart]\n";
    return 2;
  }
  DeviceFacts device;
  device.compute_capability = std::atoi(argv[1]);
  device.num_multiprocessors = std::atoi(argv[2]);
  device.shared_bytes_per_block = static_cast<size_t>(std::atoll(argv[3]));
  const Model models[] = {llama("70B Q4_0", Type::kQ4_0, 8192, 1024, 28672, 80),
                          llama("70B Q4_K_M", Type::kQ4_K, 8192, 1024, 28672, 80),
                          llama("8B Q4_K_M", Type::kQ4_K, 4096, 1024, 14336, 32),
                          llama("1B Q4_0", Type::kQ4_0, 2048, 512, 8192, 16)};
  for (const Model& model : models) {
    for (const Product& product : model.products) {
      print(model, product, device, std::atoi(argv[4]), std::strcmp(argv[5], "1") == 0, argc == 7);
    }
  }
}
