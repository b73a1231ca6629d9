#pragma once

#include <string_view>
#include <vector>

#include "api/reply.h"
#include "text/reply_parser.h"

namespace sluice::server {

// A reply on its way from the engine to a dialect: its text becomes pieces with text, thinking or
// calls.
class ReplyReader {
 public:
  // `format` must outlive it. `index`: of the prompt that is answered.
  ReplyReader(const text::ReplyFormat& format, const text::ReplyContext& context, int index)
      : format_(format), parser_(format, context), index_(index) {}

  // `text`: of an event, with its control tokens in frames.
  std::vector<api::ReplyPiece> read(std::string_view text);
  // What was held back.
  std::vector<api::ReplyPiece> finish();
  // What comes next is a thought, or its end.
  bool is_thinking() const { return parser_.is_thinking(); }

 private:
  std::vector<api::ReplyPiece> take_pieces();
  api::ReplyPiece call_piece(const text::ReplyPart& part);

  const text::ReplyFormat& format_;
  text::ReplyParser parser_;
  std::vector<text::ReplyPart> parts_;
  int index_;
  int num_calls_ = 0;
};

}  // namespace sluice::server
