#pragma once

#include <string>

namespace sluice::store {

inline std::string manifests_folder(const std::string& root) { return root + "/manifests"; }
inline std::string blobs_folder(const std::string& root) { return root + "/blobs"; }
inline std::string lock_path(const std::string& root) { return root + "/.sluice.lock"; }

}  // namespace sluice::store
