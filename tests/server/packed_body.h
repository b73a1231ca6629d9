#pragma once

#include <archive.h>
#include <archive_entry.h>

#include <string>
#include <string_view>
#include <vector>

namespace sluice::test {

inline std::string packed_with_zstd(std::string_view text) {
  std::vector<char> packed(text.size() + 4096);
  size_t size = 0;
  archive* const packer = archive_write_new();
  archive_write_add_filter_zstd(packer);
  archive_write_set_format_raw(packer);
  archive_write_set_bytes_per_block(packer, 0);
  archive_write_open_memory(packer, packed.data(), packed.size(), &size);
  archive_entry* const entry = archive_entry_new();
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_write_header(packer, entry);
  archive_write_data(packer, text.data(), text.size());
  archive_entry_free(entry);
  archive_write_close(packer);
  archive_write_free(packer);
  return std::string(packed.data(), size);
}

}  // namespace sluice::test
