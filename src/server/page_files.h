#pragma once

#include <string_view>
#include <vector>

namespace sluice::server {

// A file of the web page, embedded when the program was built (cmake/Web.cmake).
struct PageFile {
  std::string_view name;  // "app.js", "lib/chart.js"
  std::string_view text;
};
std::vector<PageFile> page_files();

}  // namespace sluice::server
