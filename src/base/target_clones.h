#pragma once

// Compiles a function for newer processors as well and picks one when the program starts: only
// speed, for plain code that is not worth a kernel of its own. (Clang 14 and the sanitizers
// cannot.)
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && \
    !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define SLUICE_TARGET_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SLUICE_TARGET_CLONES
#endif
