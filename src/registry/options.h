#pragma once

#include <chrono>
#include <string>

namespace sluice::registry {

// What all that goes out to registries has in common. Read once at the edge.
struct RegistryOptions {
  bool is_offline = false;  // nothing goes out at all
  std::string user_agent = "sluice";
  std::string key_path;                 // ~/.ollama/id_ed25519; made when a registry asks for one
  std::string ca_file;                  // certificates to trust; "": the system's
  std::string http_proxy, https_proxy;  // "": none
  std::string no_proxy;                 // hosts, separated by commas
  int num_ranges = 8;                   // parts of a blob that come in at once

  std::chrono::milliseconds connect_timeout{15'000};
  std::chrono::milliseconds head_timeout{
      30'000};  // from the request to the end of the reply's head
  std::chrono::milliseconds reply_timeout{60'000};  // for the whole of a small reply
  // A body that brings less than a KiB in this time is given up and begun anew.
  std::chrono::milliseconds stall_timeout{15'000};
  int max_attempts = 6;                        // without anything gained by one
  std::chrono::milliseconds first_delay{500};  // between attempts: doubled each time
  std::chrono::milliseconds longest_delay{30'000};
};

}  // namespace sluice::registry
