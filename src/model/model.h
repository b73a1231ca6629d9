#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "backend/backend.h"
#include "gguf/file.h"
#include "model/spec.h"

namespace sluice::model {

// The forward pass of `spec` with the tensors of `file`, as a list of operations.
// Throws Error(kCorruptData) naming a tensor that is missing or has the wrong shape.
backend::Program build_program(const ModelSpec& spec, const gguf::File& file);

// A model file on a backend, ready to run.
class Model {
 public:
  // Reads, checks and loads the file, which may change or go afterwards. Throws what the steps
  // throw, Error(kCorruptData) for a file that was written to meanwhile, and Error(kOutOfMemory)
  // before anything is loaded when weights and workspace would take more than `max_bytes`.
  Model(const std::string& path, std::unique_ptr<backend::Backend> backend,
        const backend::LoadOptions& options, std::optional<uint64_t> max_bytes = {});

  const gguf::File& file() const { return file_; }  // without the tensors' data
  const ModelSpec& spec() const { return spec_; }
  backend::Backend& backend() { return *backend_; }

 private:
  gguf::File file_;
  ModelSpec spec_;
  std::unique_ptr<backend::Backend> backend_;
};

}  // namespace sluice::model
