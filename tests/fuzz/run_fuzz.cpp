// What a load test wrote, as others may have changed it: refused with Error, or reported.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "measure/run_report.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::measure;
  try {
    const LoadRun run =
        parse_run(std::string_view(reinterpret_cast<const char*>(data), size), "run");
    html_report({run, run});
    markdown_report({run});
    csv_report({run});
  } catch (const sluice::Error&) {
  }
  return 0;
}
