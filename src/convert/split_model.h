#pragma once

#include <string>
#include <vector>

#include "convert/tensor_writer.h"
#include "store/files.h"

namespace sluice::convert {

// Writes a model that lies in several files ("model-00001-of-00003.gguf", as llama.cpp splits them;
// in whatever order) as one file: the first one's metadata and the tensors of all. Throws Error:
// kInvalidArgument for files that are not all the parts of one model, and what write_tensors does.
void join_parts(const std::vector<std::string>& paths, store::TemporaryFile& out,
                const WriteOptions& options = {});

}  // namespace sluice::convert
