#pragma once

#include <string>

namespace sluice {

// Instruction sets that both the processor and the operating system support.
struct CpuFeatures {
  bool avx2 = false;         // AVX2, FMA, F16C and BMI2
  bool avx512_vnni = false;  // AVX-512 F, BW, DQ, VL, VBMI and VNNI
  bool avx512_bf16 = false;
  bool amx = false;  // tiles, int8 and bf16, and the kernel granted the process their use
};

// Detected once; asks the kernel for the AMX tile state on the way.
const CpuFeatures& cpu_features();

// The processor's name as the system reports it: "Intel(R) Xeon(R) Processor".
std::string cpu_model_name();

}  // namespace sluice
