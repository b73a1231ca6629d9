#pragma once

#include "gguf/file.h"

// Models that lie in several files ("model-00001-of-00003.gguf"), as llama.cpp splits them.
namespace sluice::gguf {

inline constexpr const char* kPartNumber = "split.no";  // from 0 on
inline constexpr const char* kPartCount = "split.count";
inline constexpr const char* kPartTensors = "split.tensors.count";  // of the whole model

// Of how many files the model is that this one is a part of; 1 for a whole one. Throws
// Error(kCorruptData) for a number that cannot be.
int num_parts(const File& file);

// Throws Error(kInvalidArgument) for a part, saying how a whole model is made of it.
void require_whole(const File& file);

}  // namespace sluice::gguf
