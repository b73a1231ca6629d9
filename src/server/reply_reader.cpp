#include "server/reply_reader.h"

#include <utility>

#include "api/tools.h"
#include "base/error.h"

namespace sluice::server {

std::vector<api::ReplyPiece> ReplyReader::read(std::string_view text) {
  parser_.push(text, parts_);
  return take_pieces();
}

std::vector<api::ReplyPiece> ReplyReader::finish() {
  parser_.finish(parts_);
  return take_pieces();
}

api::ReplyPiece ReplyReader::call_piece(const text::ReplyPart& part) {
  api::ReplyPiece piece;
  try {
    api::ToolCall call;
    call.arguments = api::parse_json(part.call.arguments);
    call.name = part.call.name;
    call.id = part.call.id.empty() ? api::fresh_call_id(format_.call_id_size) : part.call.id;
    call.index = num_calls_;
    piece.tool_calls.push_back(std::move(call));
    ++num_calls_;
  } catch (const Error&) {  // more values than anybody takes
    piece.content = part.text;
  }
  return piece;
}

std::vector<api::ReplyPiece> ReplyReader::take_pieces() {
  std::vector<api::ReplyPiece> pieces;
  for (text::ReplyPart& part : std::exchange(parts_, {})) {
    if (part.kind == text::ReplyPart::Kind::kMarkup) continue;
    api::ReplyPiece piece;
    switch (part.kind) {
      case text::ReplyPart::Kind::kText:
        piece.content = std::move(part.text);
        break;
      case text::ReplyPart::Kind::kThinking:
        piece.thinking = std::move(part.text);
        break;
      default:
        piece = call_piece(part);
    }
    piece.index = index_;
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

}  // namespace sluice::server
