#include "keys/key_book.h"

#include <algorithm>

#include "base/error.h"

namespace sluice::keys {
namespace {

constexpr int kLayout = 1;

// A name is free again when its key is revoked; what that one has used stays.
constexpr const char* kTables = R"(
  CREATE TABLE keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    hint TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    requests_per_minute INTEGER NOT NULL,
    max_concurrent INTEGER NOT NULL,
    tokens_per_day INTEGER NOT NULL,
    created INTEGER NOT NULL,
    revoked INTEGER);
  CREATE UNIQUE INDEX names ON keys (name) WHERE revoked IS NULL;
  CREATE TABLE usage (
    key INTEGER NOT NULL,
    day INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    PRIMARY KEY (key, day)) WITHOUT ROWID;
)";

int64_t unix_seconds(SystemTime time) { return std::chrono::system_clock::to_time_t(time); }

void check_name(const std::string& name) {
  const bool is_printable = std::all_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) > ' ' && static_cast<unsigned char>(c) < 127;
  });
  if (name.empty() || name.size() > 64 || !is_printable) {
    throw Error(ErrorCode::kInvalidArgument,
                "a key's name has 1 to 64 letters, digits or signs without spaces");
  }
}

Usage read_usage(const database::Statement& row, int column) {
  return {row.integer(column), row.integer(column + 1), row.integer(column + 2),
          row.integer(column + 3)};
}

}  // namespace

KeyBook::KeyBook(const std::string& path, database::Database::Mode mode) : database_(path, mode) {
  if (database_.layout_version() == kLayout) return;
  database::Transaction transaction(database_);
  const int layout = database_.layout_version();  // another process may have been faster
  if (layout > kLayout) {
    throw Error(ErrorCode::kCorruptData,
                "the keys in " + path + " are of a later version of sluice than this one");
  }
  if (layout == 0) {
    database_.execute(kTables);
    database_.set_layout_version(kLayout);
  }
  transaction.commit();
}

std::string KeyBook::add(const std::string& name, Scopes scopes, const KeyLimits& limits,
                         SystemTime now) {
  check_name(name);
  const std::string key = make_key();
  const KeyDigest digest = digest_of(key);
  database::Statement insert = database_.prepare(
      "INSERT INTO keys (name, hint, digest, scopes, requests_per_minute, max_concurrent, "
      "tokens_per_day, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
  insert.bind(1, name).bind(2, hint_of(key)).bind(3, std::span<const std::byte>(digest));
  insert.bind(4, scopes.text()).bind(5, limits.requests_per_minute);
  insert.bind(6, limits.max_concurrent).bind(7, limits.tokens_per_day).bind(8, unix_seconds(now));
  try {
    insert.run();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kAlreadyExists) throw;
    throw Error(ErrorCode::kAlreadyExists,
                "there is a key '" + name + "' already; revoke it or choose another name");
  }
  return key;
}

void KeyBook::revoke(const std::string& name, SystemTime now) {
  database::Statement update =
      database_.prepare("UPDATE keys SET revoked = ?2 WHERE name = ?1 AND revoked IS NULL");
  update.bind(1, name).bind(2, unix_seconds(now)).run();
  if (database_.num_changed_rows() > 0) return;
  throw Error(ErrorCode::kNotFound,
              "there is no key '" + name + "'; `sluice key list` shows those that there are");
}

std::vector<Key> KeyBook::keys() {
  std::vector<Key> keys;
  database::Statement rows = database_.prepare(
      "SELECT id, name, hint, digest, scopes, requests_per_minute, max_concurrent, "
      "tokens_per_day, created FROM keys WHERE revoked IS NULL ORDER BY name");
  while (rows.next()) {
    Key& key = keys.emplace_back();
    key.id = rows.integer(0);
    key.name = rows.text(1);
    key.hint = rows.text(2);
    const std::vector<std::byte> digest = rows.bytes(3);
    if (digest.size() != key.digest.size()) {
      throw Error(ErrorCode::kCorruptData, "the digest of the key '" + key.name + "' is damaged");
    }
    std::copy(digest.begin(), digest.end(), key.digest.begin());
    key.scopes = Scopes::parse(rows.text(4));
    key.limits = {static_cast<int>(rows.integer(5)), static_cast<int>(rows.integer(6)),
                  rows.integer(7)};
    key.created = std::chrono::system_clock::from_time_t(rows.integer(8));
  }
  return keys;
}

void KeyBook::add_usage(int64_t id, int64_t day, const Usage& usage) {
  database::Statement insert = database_.prepare(
      "INSERT INTO usage (key, day, requests, refused, prompt_tokens, output_tokens) "
      "VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (key, day) DO UPDATE SET "
      "requests = requests + ?3, refused = refused + ?4, "
      "prompt_tokens = prompt_tokens + ?5, output_tokens = output_tokens + ?6");
  insert.bind(1, id).bind(2, day).bind(3, usage.num_requests).bind(4, usage.num_refused);
  insert.bind(5, usage.num_prompt_tokens).bind(6, usage.num_output_tokens).run();
}

std::vector<DailyUsage> KeyBook::usage(int64_t first_day) {
  std::vector<DailyUsage> days;
  database::Statement rows = database_.prepare(
      "SELECT name, revoked, day, requests, refused, prompt_tokens, output_tokens FROM usage "
      "LEFT JOIN keys ON keys.id = usage.key WHERE day >= ?1 ORDER BY day DESC, name, usage.key");
  rows.bind(1, first_day);
  while (rows.next()) {
    days.push_back({rows.text(0), !rows.is_null(1), rows.integer(2), read_usage(rows, 3)});
  }
  return days;
}

std::vector<std::pair<int64_t, Usage>> KeyBook::usage_of_day(int64_t day) {
  std::vector<std::pair<int64_t, Usage>> keys;
  database::Statement rows = database_.prepare(
      "SELECT key, requests, refused, prompt_tokens, output_tokens FROM usage WHERE day = ?1");
  rows.bind(1, day);
  while (rows.next()) keys.emplace_back(rows.integer(0), read_usage(rows, 1));
  return keys;
}

}  // namespace sluice::keys
