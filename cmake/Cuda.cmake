# The CUDA backend: its kernels as cubins and PTX in the program, and the same files for the host, to
# run in the emulator of tests/simt. Without nvcc everything else is built all the same.

set(SLUICE_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO (when nvcc is found), ON, OFF")
set(SLUICE_HAS_CUDA OFF)
if(SLUICE_CUDA AND NOT SLUICE_FUZZ)
  find_program(SLUICE_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin /usr/local/cuda/bin)
  if(SLUICE_NVCC)
    set(SLUICE_HAS_CUDA ON)
    get_filename_component(nvcc_folder ${SLUICE_NVCC} REALPATH)
    get_filename_component(nvcc_folder ${nvcc_folder} DIRECTORY)
    get_filename_component(SLUICE_CUDA_INCLUDE ${nvcc_folder}/../include ABSOLUTE)
  elseif(SLUICE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "SLUICE_CUDA=ON, but there is no nvcc")
  endif()
endif()

file(GLOB SLUICE_KERNELS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/backend/cuda/*.cu)

set(SLUICE_CUDA_ARCHITECTURES all CACHE STRING
    "GPUs to compile kernels for: all, native (those of this machine), or some of 80;90a;ptx")

# sluice_cuda_architectures(out): what of 80 (A100), 90a (H100 and H200, with wgmma) and ptx (what
# comes after them) is to be compiled; may be nothing.
function(sluice_cuda_architectures out)
  set(wanted ${SLUICE_CUDA_ARCHITECTURES})
  if(wanted STREQUAL "all")
    set(wanted 80 90a ptx)
  elseif(wanted STREQUAL "native")
    set(wanted "")
    set(capabilities "")
    find_program(SLUICE_NVIDIA_SMI nvidia-smi)
    if(SLUICE_NVIDIA_SMI)
      execute_process(COMMAND ${SLUICE_NVIDIA_SMI} --query-gpu=compute_cap --format=csv,noheader
                      OUTPUT_VARIABLE capabilities ERROR_QUIET TIMEOUT 20)
    endif()
    string(REGEX MATCHALL "[0-9]+\\.[0-9]" capabilities "${capabilities}")
    foreach(capability IN LISTS capabilities)
      if(capability MATCHES "^8\\.")
        list(APPEND wanted 80)
      elseif(capability STREQUAL "9.0")
        list(APPEND wanted 90a)
      elseif(capability VERSION_GREATER 9.0)
        list(APPEND wanted ptx)
      endif()
    endforeach()
    list(REMOVE_DUPLICATES wanted)
    message(STATUS "Kernels for the GPUs of this machine: ${wanted}")
  endif()
  set(${out} ${wanted} PARENT_SCOPE)
endfunction()

# sluice_compile_kernels(name source architecture out image): one file for one architecture, by way of
# ccache (which takes a preprocessed file to be the same for all architectures of a call: one each).
# `image` is what fatbinary is told of it.
function(sluice_compile_kernels name source architecture out image)
  if(architecture STREQUAL "ptx")
    set(options -ptx -arch=compute_90)
    set(file ${CMAKE_BINARY_DIR}/kernels/${name}.ptx)
    set(kind kind=ptx,sm=90)
  else()
    set(options -cubin -arch=sm_${architecture})
    set(file ${CMAKE_BINARY_DIR}/kernels/${name}_${architecture}.cubin)
    set(kind kind=elf,sm=${architecture})
  endif()
  add_custom_command(
    OUTPUT ${file}
    COMMAND ${CMAKE_CXX_COMPILER_LAUNCHER} ${SLUICE_NVCC} -c ${options} -std=c++20 -O3
            --expt-relaxed-constexpr -ccbin ${CMAKE_CXX_COMPILER} -I${CMAKE_SOURCE_DIR}/src
            -Xptxas --warn-on-spills -MD -MF ${file}.d -o ${file} ${source}
    DEPENDS ${source}
    DEPFILE ${file}.d
    COMMENT "CUDA kernels of ${name} (${architecture})"
    VERBATIM)
  set(${out} ${file} PARENT_SCOPE)
  set(${image} --image3=${kind},file=${file} PARENT_SCOPE)
endfunction()

# sluice_embed_kernels(target): each kernel file as a fatbin in `target`, where
# backend/cuda/images.h finds it.
function(sluice_embed_kernels target)
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/kernels)
  get_filename_component(tools ${SLUICE_NVCC} REALPATH)
  get_filename_component(tools ${tools} DIRECTORY)
  sluice_cuda_architectures(architectures)
  set(fatbins "")
  set(text "")
  set(table "")
  foreach(source IN LISTS SLUICE_KERNELS)
    get_filename_component(name ${source} NAME_WE)
    set(mine ${architectures})
    if(name MATCHES "^linear_wide_")
      list(FILTER mine INCLUDE REGEX "90a")  # products by warpgroups, which it alone has
    elseif(name MATCHES "^linear_many_")
      list(FILTER mine EXCLUDE REGEX "90a")  # and the others, which it does not take
    endif()
    if(NOT mine)
      continue()
    endif()
    set(files "")
    set(parts "")
    foreach(architecture IN LISTS mine)
      sluice_compile_kernels(${name} ${source} ${architecture} file image)
      list(APPEND files ${file})
      list(APPEND parts ${image})
    endforeach()
    set(fatbin ${CMAKE_BINARY_DIR}/kernels/${name}.fatbin)
    add_custom_command(
      OUTPUT ${fatbin}
      COMMAND ${tools}/fatbinary -64 --compress-all --create=${fatbin} ${parts}
      DEPENDS ${files}
      COMMENT "CUDA kernels of ${name}"
      VERBATIM)
    list(APPEND fatbins ${fatbin})
    string(APPEND text "asm(R\"(
.section .rodata
.balign 64
sluice_kernels_${name}:
.incbin \"${fatbin}\"
sluice_kernels_${name}_end:
.previous
)\");
extern \"C\" const std::byte sluice_kernels_${name}[], sluice_kernels_${name}_end[];
")
    string(APPEND table "    {\"${name}\", {sluice_kernels_${name}, sluice_kernels_${name}_end}},\n")
  endforeach()
  set(images ${CMAKE_BINARY_DIR}/kernels/images.cpp)
  file(CONFIGURE OUTPUT ${images} @ONLY CONTENT
"// Made by cmake/Cuda.cmake.
#include \"backend/cuda/images.h\"

${text}
namespace sluice::backend::cuda {

std::vector<KernelImage> kernel_images() {
  return {
${table}  };
}

}  // namespace sluice::backend::cuda
")
  set_property(SOURCE ${images} PROPERTY OBJECT_DEPENDS "${fatbins}")
  set_property(SOURCE ${images} PROPERTY COMPILE_OPTIONS -fno-lto)
  target_sources(${target} PRIVATE ${images})
  target_include_directories(${target} SYSTEM PUBLIC ${SLUICE_CUDA_INCLUDE})
endfunction()

# simt: the emulator and every kernel for the host, as objects. The compiler calls the emulator before
# each load and store of a kernel: that is what its instrumentation for ThreadSanitizer does, whose
# library is not linked.
function(sluice_simt)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/simt/*.cpp)
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$|/fake_")
  file(GLOB test_kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/simt/*.cu)
  set(kernels ${SLUICE_KERNELS} ${test_kernels})
  set_source_files_properties(${kernels} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS
    "-O2;-g1;-fno-sanitize=all;-fsanitize=thread;--param=tsan-instrument-func-entry-exit=0;-fno-tree-vectorize;-fno-tree-slp-vectorize;-fno-strict-aliasing;-fno-omit-frame-pointer;-ffp-contract=off;-Wno-conversion;-Wno-unused-function;-Wno-unknown-pragmas;-Wno-unused-parameter")
  # Half of what tests of kernels take under AddressSanitizer is the emulator's.
  set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS $<$<CONFIG:Debug>:-O2>)
  add_library(simt OBJECT ${sources} ${kernels})
  target_compile_options(simt PRIVATE ${SLUICE_WARNINGS})
  target_include_directories(simt PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
  target_include_directories(simt SYSTEM PRIVATE ${SLUICE_CUDA_INCLUDE})

  # A driver whose devices are the emulator.
  add_library(fakecuda SHARED tests/simt/fake_driver.cpp $<TARGET_OBJECTS:simt>)
  target_compile_options(fakecuda PRIVATE ${SLUICE_WARNINGS})
  target_include_directories(fakecuda PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_include_directories(fakecuda SYSTEM PRIVATE ${SLUICE_CUDA_INCLUDE})
  target_link_libraries(fakecuda PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
  target_link_options(fakecuda PRIVATE -Wl,-Bsymbolic)
  set_target_properties(fakecuda PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_dependencies(tests fakecuda)

  file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/simt/*_test.cpp)
  add_executable(simt_test ${tests} $<TARGET_OBJECTS:simt>)
  target_compile_options(simt_test PRIVATE ${SLUICE_WARNINGS} ${SLUICE_COLD_PROGRAM_OPTIONS}
                                           ${SLUICE_PRECOMPILE_OPTIONS})
  target_include_directories(simt_test PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(simt_test PRIVATE SLUICE_CUDA_INCLUDE="${SLUICE_CUDA_INCLUDE}")
  target_include_directories(simt_test SYSTEM PRIVATE ${SLUICE_CUDA_INCLUDE})
  target_precompile_headers(simt_test REUSE_FROM base_test)
  set_source_files_properties(${kernels} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
  target_link_libraries(simt_test PRIVATE sluice_backend test_data GTest::gtest GTest::gmock GTest::gtest_main)
  set_target_properties(simt_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_dependencies(tests simt_test)

  file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/cuda/*_test.cpp)
  add_executable(cuda_test ${tests})
  target_compile_options(cuda_test PRIVATE ${SLUICE_WARNINGS} ${SLUICE_COLD_PROGRAM_OPTIONS}
                                           ${SLUICE_PRECOMPILE_OPTIONS})
  target_include_directories(cuda_test PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(cuda_test PRIVATE SLUICE_FAKECUDA_LIBRARY="$<TARGET_FILE:fakecuda>")
  target_precompile_headers(cuda_test REUSE_FROM base_test)
  target_link_libraries(cuda_test PRIVATE sluice_engine test_data GTest::gtest GTest::gmock GTest::gtest_main)
  set_target_properties(cuda_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_dependencies(cuda_test fakecuda)
  add_dependencies(tests cuda_test)
endfunction()
