#pragma once

#include <memory>
#include <utility>

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
  // load_model() makes one (load.h).
  Model(gguf::File file, ModelSpec spec, std::unique_ptr<backend::Backend> backend)
      : file_(std::move(file)), spec_(std::move(spec)), backend_(std::move(backend)) {}

  const gguf::File& file() const { return file_; }  // without the tensors' data
  const ModelSpec& spec() const { return spec_; }
  backend::Backend& backend() { return *backend_; }

 private:
  gguf::File file_;
  ModelSpec spec_;
  std::unique_ptr<backend::Backend> backend_;
};

}  // namespace sluice::model
