#pragma once

#include <string>
#include <utility>
#include <vector>

#include "database/database.h"
#include "keys/key.h"

namespace sluice::keys {

// The keys of a machine and what they have used, in a database that its owner alone can read.
// Several processes may have it open: `sluice key` changes it while servers run. Throws what
// database::Database does, and kCorruptData for a file of a later version.
class KeyBook {
 public:
  KeyBook(const std::string& path, database::Database::Mode mode);

  // A new key, which is nowhere kept: its text is told this once. Throws Error: kInvalidArgument
  // for a name that is not 1 to 64 printable characters, kAlreadyExists for that of another key.
  std::string add(const std::string& name, Scopes scopes, const KeyLimits& limits, SystemTime now);
  // Throws Error(kNotFound).
  void revoke(const std::string& name, SystemTime now);
  // Those that hold, by name.
  std::vector<Key> keys();

  // Adds to a day of a key. `id` 0 is who had no key.
  void add_usage(int64_t id, int64_t day, const Usage& usage);
  // Of the days from `first_day` on, the newest first.
  std::vector<DailyUsage> usage(int64_t first_day);
  // By key, of one day.
  std::vector<std::pair<int64_t, Usage>> usage_of_day(int64_t day);

  database::Database& database() { return database_; }

 private:
  database::Database database_;
};

}  // namespace sluice::keys
