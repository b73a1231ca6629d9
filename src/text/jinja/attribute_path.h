#pragma once

#include <optional>

#include "text/jinja/object.h"

namespace sluice::text::jinja {

// The `attribute` argument of filters: "a.b.0" looks up a, then b, then item 0.
class AttributePath {
 public:
  // `attribute` missing or none gives the item itself.
  AttributePath(Heap& heap, const Val& attribute, bool ignore_case, Val otherwise = Val());
  Val get(const Val& item) const;

 private:
  Heap& heap_;
  Vals parts_;
  bool ignore_case_;
  Val otherwise_;  // instead of undefined, unless none
};

// Text in lower case; anything else as it is.
Val without_case(Heap& heap, const Val& value);

}  // namespace sluice::text::jinja
