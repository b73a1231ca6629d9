#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/memory_file.h"
#include "gguf/file.h"
#include "gguf/writer.h"

// Models that are known by their published shape alone, so that something can be said of them
// before a byte is fetched.
namespace sluice::measure {

struct Shape {
  std::string_view name;          // "llama3.1:70b"
  std::string_view architecture;  // GGUF's
  int num_layers, embedding_length, num_heads, num_kv_heads, head_dim, feed_forward_length;
  int vocab_size, context_length;
  bool is_tied;            // the embedding is the output matrix, too
  int sliding_window = 0;  // of Gemma's local layers
};

std::span<const Shape> all_shapes();
// Null when there is none of this name. "llama3.1" means its smallest.
const Shape* find_shape(std::string_view name);

// The file that such a model would be: metadata and tensors by name, type and shape; what the
// tensors hold is not there. `mix` is a name of convert::find_mix(), whose errors it throws.
gguf::File shape_file(const Shape& shape, std::string_view mix);

// Such a file in memory, filled with random weights that are valid and keep activations in range:
// it says nothing sensible, and runs as fast as the model whose shape it has.
class FilledShape {
 public:
  // `on_progress` is told bytes written and bytes in all. Throws what find_mix() throws and
  // Error(kOutOfMemory) when the memory ends.
  FilledShape(const Shape& shape, std::string_view mix,
              const std::function<void(uint64_t, uint64_t)>& on_progress);
  std::string path() const { return file_.path(); }  // while this lives

 private:
  FilledShape(const gguf::Writer& writer,
              const std::function<void(uint64_t, uint64_t)>& on_progress);
  MemoryFile file_;
};

}  // namespace sluice::measure
