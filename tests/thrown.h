#pragma once

#include <gtest/gtest.h>

#include "base/error.h"

namespace sluice::test {

// What an action throws. A failure of the test, and kInternal, when it throws nothing.
template <typename Action>
Error error_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {ErrorCode::kInternal, "nothing was thrown"};
}

template <typename Action>
ErrorCode code_of(const Action& action) {
  return error_of(action).code();
}

}  // namespace sluice::test
