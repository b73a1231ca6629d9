#include "database/database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <new>

#include "base/error.h"

namespace sluice::database {
namespace {

constexpr int kBusyTimeoutMs = 5000;

[[noreturn]] void fail_with(int result, const std::string& text) {
  ErrorCode code = ErrorCode::kIo;
  switch (result & 0xff) {  // the rest of the bits say more, which the text does too
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      code = ErrorCode::kBusy;
      break;
    case SQLITE_FULL:
      code = ErrorCode::kNoSpace;
      break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      code = ErrorCode::kCorruptData;
      break;
    case SQLITE_CONSTRAINT:
      code = ErrorCode::kAlreadyExists;
      break;
    case SQLITE_NOMEM:
      throw std::bad_alloc();
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_ERROR:
      code = ErrorCode::kInternal;
      break;
    default:
      break;
  }
  throw Error(code, text);
}

void check_result(sqlite3* connection, int result) {
  if (result == SQLITE_OK || result == SQLITE_ROW || result == SQLITE_DONE) return;
  const char* path = sqlite3_db_filename(connection, "main");
  fail_with(result, "the database " + std::string(path != nullptr ? path : "") +
                        " cannot be used: " + sqlite3_errmsg(connection));
}

// Before SQLite does, whose files everybody may read; it gives the ones beside it the same rights.
void make_file(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  std::error_code error;
  if (!folder.empty() && !std::filesystem::exists(folder, error)) {
    std::filesystem::create_directories(folder, error);
    if (error) throw io_error("cannot make the folder", folder.string(), error.value());
    std::filesystem::permissions(folder, std::filesystem::perms::owner_all, error);
  }
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) throw io_error("cannot open", path, errno);
  ::close(file);
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Statement::Statement(sqlite3* connection, std::string_view sql) : connection_(connection) {
  sqlite3_stmt* statement = nullptr;
  check(sqlite3_prepare_v3(connection, sql.data(), static_cast<int>(sql.size()),
                           SQLITE_PREPARE_PERSISTENT, &statement, nullptr));
  statement_.reset(statement);
}

void Statement::check(int result) const { check_result(connection_, result); }

Statement& Statement::bind(int parameter, int64_t value) {
  check(sqlite3_bind_int64(statement_.get(), parameter, value));
  return *this;
}

Statement& Statement::bind(int parameter, std::string_view text) {
  check(sqlite3_bind_text64(statement_.get(), parameter, text.data() != nullptr ? text.data() : "",
                            text.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}

Statement& Statement::bind(int parameter, std::span<const std::byte> bytes) {
  check(sqlite3_bind_blob64(statement_.get(), parameter, bytes.data(), bytes.size(),
                            SQLITE_TRANSIENT));
  return *this;
}

bool Statement::next() {
  const int result = sqlite3_step(statement_.get());
  if (result == SQLITE_ROW) return true;
  sqlite3_reset(statement_.get());
  check(result);
  return false;
}

void Statement::run() {
  while (next()) {
  }
}

int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

std::string Statement::text(int column) const {
  const unsigned char* text = sqlite3_column_text(statement_.get(), column);
  if (text == nullptr) return {};
  return {reinterpret_cast<const char*>(text),
          static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

std::vector<std::byte> Statement::bytes(int column) const {
  const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_.get(), column));
  if (data == nullptr) return {};
  return {data, data + sqlite3_column_bytes(statement_.get(), column)};
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

void Database::Close::operator()(sqlite3* connection) const { sqlite3_close_v2(connection); }

Database::Database(const std::string& path, Mode mode) {
  if (mode == Mode::kCreate) {
    make_file(path);
  } else if (::access(path.c_str(), F_OK) != 0) {
    throw io_error("cannot open", path, errno);
  }
  sqlite3* connection = nullptr;
  const int result = sqlite3_open_v2(path.c_str(), &connection,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  connection_.reset(connection);
  if (result != SQLITE_OK) {
    fail_with(result, "cannot open the database " + path + ": " + sqlite3_errstr(result));
  }
  sqlite3_busy_timeout(connection, kBusyTimeoutMs);
  execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON");
}

void Database::execute(const std::string& sql) {
  check_result(connection_.get(),
               sqlite3_exec(connection_.get(), sql.c_str(), nullptr, nullptr, nullptr));
}

int Database::num_changed_rows() const { return sqlite3_changes(connection_.get()); }

namespace {

int64_t number_of(Statement statement) {
  const int64_t number = statement.next() ? statement.integer(0) : 0;
  return number;
}

}  // namespace

int64_t Database::data_version() { return number_of(prepare("PRAGMA data_version")); }

int Database::layout_version() {
  return static_cast<int>(number_of(prepare("PRAGMA user_version")));
}

void Database::set_layout_version(int version) {
  execute("PRAGMA user_version = " + std::to_string(version));
}

Transaction::~Transaction() {
  if (is_over_) return;
  try {
    database_.execute("ROLLBACK");
  } catch (...) {
    // SQLite has undone it already, or will when the file is opened next.
  }
}

}  // namespace sluice::database
