#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"

namespace sluice::server {

// What became of one of a request's prompts.
struct PartLife {
  engine::RequestRecord record;
  std::string stop_string;
  std::shared_ptr<const engine::RequestTrace> trace;
};

// What became of one HTTP request. No prompt and no reply is in it. Filled on the connection's
// strand; what the journal has taken is never changed again.
struct RequestLife {
  using Clock = std::chrono::steady_clock;
  static constexpr size_t kMostParts = 4;  // that are told one by one
  static constexpr size_t kMostErrorBytes = 300;

  uint64_t number = 0;  // counts up; engine::Request::tag
  std::string id;       // X-Request-Id
  std::string method;
  std::string path;
  std::string_view route;  // its pattern; "" when it came to none
  std::string key;         // the name of the client's API key
  std::string address;     // the client's
  std::chrono::system_clock::time_point arrived_at;
  std::chrono::nanoseconds total{};  // from then to the end of the reply
  int status = 0;                    // 499: the client left before there was one
  uint64_t num_sent_bytes = 0;
  std::string error;  // cut to kMostErrorBytes

  // Of a request for a model.
  std::string model;
  std::string backend;
  uint64_t weights_bytes = 0;
  std::chrono::nanoseconds fastest_decode{};  // of the model until then; 0: not known
  bool is_stream = false;
  std::chrono::nanoseconds load{};     // until the model was there
  std::chrono::nanoseconds prepare{};  // from there until the engine had it
  int queue_position = 0;              // when it came there
  int num_dropped_tokens = 0;
  int context_limit = 0;
  int max_tokens = -1;  // -1: no limit
  bool has_grammar = false;
  std::vector<PartLife> parts;  // the first kMostParts
  int num_parts = 0;
  // Of all parts.
  int num_prompt_tokens = 0;
  int num_cached_tokens = 0;
  int num_output_tokens = 0;

  void set_error(std::string_view text);
  void add_part(const engine::Event& final_event);
};

// The id of a request: the client's own X-Request-Id when it is one to 128 letters, digits and
// marks out of "._:-"; else one that nobody has had yet.
std::string request_id_of(const std::string* client_header);

}  // namespace sluice::server
