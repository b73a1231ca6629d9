#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/request.h"
#include "text/stream_decoder.h"

namespace sluice::engine {

// The text of a reply as its tokens come: whole UTF-8, up to a stop string, with what may become
// one held back.
class ReplyText {
 public:
  // `tokenizer` must outlive it. `frame_controls`: as Request::frame_controls.
  ReplyText(std::vector<std::string> stop_strings, const text::Tokenizer& tokenizer,
            bool frame_controls)
      : decoder_(tokenizer),
        matcher_(std::move(stop_strings)),
        tokenizer_(&tokenizer),
        frame_controls_(frame_controls) {}

  // True when the text ran into a stop string, the tokens being over then.
  bool push(OutputToken token);
  // At the end, without a stop string: lets out what was held back. The start of a character that
  // never came may still complete a stop string: true then.
  bool flush();

  // What is safe to tell and was not taken yet, with the tokens behind it.
  bool has_text() const { return !text_.empty(); }
  bool is_empty() const { return text_.empty() && tokens_.empty(); }
  void take_into(Event& event);

  std::optional<size_t> stop_index() const { return stop_index_; }  // of the stop string, once met

 private:
  bool push(const std::string& piece);

  text::StreamDecoder decoder_;
  text::StopMatcher matcher_;
  const text::Tokenizer* tokenizer_;
  bool frame_controls_;
  std::string text_;
  std::vector<OutputToken> tokens_;
  std::optional<size_t> stop_index_;
};

}  // namespace sluice::engine
