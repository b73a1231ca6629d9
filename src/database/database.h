#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct sqlite3;
struct sqlite3_stmt;

// SQLite in RAII: a connection, its statements, a transaction. Everything may throw Error: kBusy
// when another process holds the lock for longer than five seconds, kNoSpace, kCorruptData for a
// file that is no database, kAlreadyExists for a row that is there already, kIo. Used by one thread
// at a time.
namespace sluice::database {

// A prepared statement; must not outlive its connection. Parameters count from 1, as SQL has them
// (?1), columns from 0.
class Statement {
 public:
  Statement& bind(int parameter, int64_t value);
  Statement& bind(int parameter, std::string_view text);
  Statement& bind(int parameter, std::span<const std::byte> bytes);

  // The next row; false at the end, after which the statement can be bound and run again.
  bool next();
  // For statements without rows.
  void run();

  // Of the row that next() has come to. What is NULL is 0 and empty.
  int64_t integer(int column) const;
  std::string text(int column) const;
  std::vector<std::byte> bytes(int column) const;
  bool is_null(int column) const;

 private:
  friend class Database;
  Statement(sqlite3* connection, std::string_view sql);
  void check(int result) const;

  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  sqlite3* connection_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

class Database {
 public:
  enum class Mode {
    kExisting,  // Error(kNotFound) when there is no file
    kCreate,    // made when it is not there, and its folder: for its owner's eyes alone
  };
  // Opens the file in WAL mode, so that readers never wait for writers.
  Database(const std::string& path, Mode mode);

  Statement prepare(std::string_view sql) { return Statement(connection_.get(), sql); }
  // Statements without rows or parameters.
  void execute(const std::string& sql);
  // Rows that the last statement has changed.
  int num_changed_rows() const;
  // Another number when another connection, of whatever process, has changed something.
  int64_t data_version();
  // The number that the file's owner has given its layout; 0 in a new file.
  int layout_version();
  void set_layout_version(int version);

 private:
  struct Close {
    void operator()(sqlite3* connection) const;
  };
  std::unique_ptr<sqlite3, Close> connection_;
};

// All or nothing: what was changed since is undone unless commit() was called.
class Transaction {
 public:
  explicit Transaction(Database& database) : database_(database) {
    database_.execute("BEGIN IMMEDIATE");
  }
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  void commit() {
    database_.execute("COMMIT");
    is_over_ = true;
  }

 private:
  Database& database_;
  bool is_over_ = false;
};

}  // namespace sluice::database
