#pragma once

#include <mutex>
#include <string>

#include "server/request_life.h"

namespace sluice::server {

// A line for each request that ends: key=value in the server's log, where those that are asked all
// the time stand at level debug, and, with a file, an object of JSON there. Neither holds prompts,
// replies, keys or queries. Safe to share between threads.
class AccessLog {
 public:
  // `path`: appended to; "": there is no file. Throws Error(kIo) when it cannot be opened.
  explicit AccessLog(const std::string& path);
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  // A line that the disk does not take is left out; the log says so, once.
  void write(const RequestLife& life, bool is_quiet);
  // Goes on in a new file when somebody has moved the old one away. Throws as the constructor; the
  // old one stays then.
  void reopen();

 private:
  const std::string path_;
  std::mutex mutex_;  // guards what follows
  int file_ = -1;
  bool has_complained_ = false;
};

// "id=req_1 method=POST path="/api/chat" status=200 ms=245.1 ..."
std::string access_line(const RequestLife& life);
// {"time":"2026-08-21T10:00:00Z","id":"req_1","method":"POST","path":"/api/chat","route":"/api/chat",
//  "status":200,"ms":245.1,"bytes":1234,"address":"127.0.0.1"}, with "key" and "error" where there
// are some, and of requests for a model "model","prompt_tokens","cached_tokens","output_tokens",
// "end","load_ms","queued_ms","ttft_ms". Times in milliseconds.
std::string access_json(const RequestLife& life);

}  // namespace sluice::server
