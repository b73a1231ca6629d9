#pragma once

// What libfakecuda.so says beyond CUDA's calls, for tests that open it; see fake_driver.cpp.
extern "C" {

// The words of SLUICE_FAKECUDA, from here on. Not while a context is in use.
void fake_cuda_configure(const char* text);

// The same words about a machine that is in use: only what fails, and how memory is checked.
void fake_cuda_change(const char* text);

// How often: "kernels" launched by the host (in a graph: when it was made), "graphs" made,
// "graph-launches", "waits" of the host, "early-launches": kernels that may start early.
long fake_cuda_counter(const char* name);
}
