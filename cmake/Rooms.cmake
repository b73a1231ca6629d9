# One library a room, one test program a room, found by folder: adding a file needs no edit here
# (re-run cmake, or let the build do it).

set(SLUICE_WARNINGS -Wall -Wextra -Wconversion -Wno-sign-conversion -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports these inside the standard library and Boost at -O3, wrongly.
  list(APPEND SLUICE_WARNINGS -Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-array-bounds
       -Wno-restrict -Wno-dangling-pointer -Wno-psabi)
  list(APPEND SLUICE_WARNINGS -Wno-subobject-linkage)  # wrong for files that sluice_batches includes
endif()

# What computes nothing that takes time compiles faster so: Asio, JSON, CLI11 and GoogleTest by a quarter
# to a half at -O1, whatever UndefinedBehaviorSanitizer checks by half at -O0.
set(SLUICE_COLD_PROGRAM_OPTIONS $<$<CONFIG:Release>:-O1>)
set(SLUICE_COLD_ROOM_OPTIONS $<$<CONFIG:Release>:-O1>)
if(CMAKE_BUILD_TYPE STREQUAL "Debug" AND SLUICE_SANITIZE MATCHES "undefined")
  set(SLUICE_COLD_PROGRAM_OPTIONS -O0)
  set(SLUICE_COLD_ROOM_OPTIONS -O0)
endif()

# What most files of a program include is compiled once for all of them.
set(SLUICE_STANDARD_HEADERS <algorithm> <chrono> <functional> <map> <memory> <optional> <random>
    <span> <string> <thread> <unordered_map> <vector>)
set(SLUICE_PRECOMPILE_OPTIONS -fpch-preprocess)  # ccache asks for it

if(SLUICE_SANITIZE STREQUAL "thread")
  add_compile_options(-Wno-tsan)  # Asio's fences: ThreadSanitizer may miss them, GCC warns of it
endif()
if(SLUICE_SANITIZE)
  add_compile_options(-fsanitize=${SLUICE_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SLUICE_SANITIZE})
endif()

# Kernels for one instruction set live in files named after it and get its flags; the rest of the
# program stays at the x86-64 baseline.
set(SLUICE_ISA_generic $<$<CONFIG:Release>:-O2>)  # for machines that nobody measures: a sixth of the time that -O3 takes
set(SLUICE_ISA_avx2 -mavx2 -mfma -mf16c -mbmi -mbmi2)
set(SLUICE_ISA_avx512 ${SLUICE_ISA_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni
    -mavx512vbmi -mprefer-vector-width=512)
set(SLUICE_ISA_amx ${SLUICE_ISA_avx512} -mavx512bf16 -mamx-tile -mamx-int8 -mamx-bf16)

set(SLUICE_ROOMS "" CACHE INTERNAL "")

# sluice_batches(name count list folder): replaces the files of a list, all of them in a folder, by `count`
# files that include them, which then share what their headers cost: two thirds of a small file's time. A
# file's name decides where it goes, so that a new one leaves the others where they are. Names in anonymous
# namespaces must differ in a room; files where they do not are named behind it and stay as they are.
function(sluice_batches name count list folder)
  set(batches "")
  foreach(source IN LISTS ${list})
    file(RELATIVE_PATH path ${folder} ${source})
    if(path IN_LIST ARGN)
      list(APPEND batches ${source})
      continue()
    endif()
    string(MD5 hash ${path})
    string(SUBSTRING ${hash} 0 6 hash)
    math(EXPR batch "0x${hash} % ${count}")
    string(APPEND text_${batch} "#include \"${path}\"\n")
  endforeach()
  math(EXPR last "${count} - 1")
  foreach(batch RANGE ${last})
    if(text_${batch})
      set(file ${CMAKE_BINARY_DIR}/batches/${name}_${batch}.cpp)
      file(CONFIGURE OUTPUT ${file} CONTENT "${text_${batch}}" @ONLY)
      list(APPEND batches ${file})
    endif()
  endforeach()
  set(${list} ${batches} PARENT_SCOPE)
endfunction()

# sluice_room(name [COLD] [BATCHES count [ALONE file...]] DEPS ...): library sluice_<name> from src/<name>/, recursively.
# A dependency that is a room's name means that room's library. COLD: computes nothing that takes time.
# BATCHES: compiled as so many files, but for those ALONE (see above).
function(sluice_room name)
  cmake_parse_arguments(ARG "COLD" "BATCHES" "ALONE;DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cpp)
  if(SLUICE_FUZZ)
    list(FILTER sources EXCLUDE REGEX "/backend/cpu/")  # slow to compile, reads nothing from outside
  endif()
  set(deps "")
  foreach(dep IN LISTS ARG_DEPS)
    if(TARGET sluice_${dep})
      list(APPEND deps sluice_${dep})
    else()
      list(APPEND deps ${dep})
    endif()
  endforeach()
  if(SLUICE_HAS_CUDA)
    list(FILTER sources EXCLUDE REGEX "/no_cuda\\.cpp$")
  else()
    list(FILTER sources EXCLUDE REGEX "/backend/cuda/")
  endif()
  if(ARG_BATCHES AND SLUICE_BATCHES)
    sluice_batches(${name} ${ARG_BATCHES} sources ${CMAKE_SOURCE_DIR}/src ${ARG_ALONE})
  endif()
  if(sources)
    add_library(sluice_${name} STATIC ${sources})
    target_include_directories(sluice_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
    target_compile_options(sluice_${name} PRIVATE ${SLUICE_WARNINGS})
    if(ARG_COLD)
      target_compile_options(sluice_${name} PRIVATE ${SLUICE_COLD_ROOM_OPTIONS})
    endif()
    target_link_libraries(sluice_${name} PUBLIC ${deps})
    if(SLUICE_SANITIZE STREQUAL "thread")
      # Half of the tests' time: the reference has no threads, and the plain kernels are called as
      # the AVX ones are, which stay instrumented.
      foreach(source IN LISTS sources)
        if(source MATCHES "/backend/reference/|kernels_generic")
          set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS -fno-sanitize=thread)
        endif()
      endforeach()
    endif()
    foreach(isa generic avx2 avx512 amx)
      foreach(source IN LISTS sources)
        if(source MATCHES "_${isa}\\.cpp$")
          set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS "${SLUICE_ISA_${isa}}")
        endif()
      endforeach()
    endforeach()
  else()
    add_library(sluice_${name} INTERFACE)
    target_include_directories(sluice_${name} INTERFACE ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(sluice_${name} INTERFACE ${deps})
  endif()
  set(SLUICE_ROOMS ${SLUICE_ROOMS} ${name} CACHE INTERNAL "")
endfunction()

# Rooms whose tests include what is slow to compile: in how many files they are compiled, and which of
# them stay alone.
set(SLUICE_TEST_BATCHES_api 3)
set(SLUICE_TEST_BATCHES_backend 3)
set(SLUICE_TEST_BATCHES_convert 2)
set(SLUICE_TEST_BATCHES_engine 4)
set(SLUICE_TEST_BATCHES_grammar 2)
set(SLUICE_TEST_BATCHES_measure 3)
set(SLUICE_TEST_BATCHES_monitor 1)
set(SLUICE_TEST_BATCHES_registry 1)
set(SLUICE_TEST_BATCHES_server 3)
set(SLUICE_TEST_BATCHES_store 2)
set(SLUICE_TEST_BATCHES_text 3)
# Models of the scheduler in its three tests share their names; nothing that they include is slow.
set(SLUICE_TESTS_ALONE_engine engine/scheduler_test.cpp engine/scheduler_shift_test.cpp
    engine/scheduler_itl_test.cpp engine/block_pool_test.cpp)
set(SLUICE_TESTS_ALONE_text text/go_template_test.cpp)

# <name>_test from tests/<name>/*.cpp, linked with a room.
function(sluice_room_tests name room)
  file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${name}/*.cpp)
  if(NOT SLUICE_HAS_CUDA)
    list(FILTER tests EXCLUDE REGEX "/cuda_[a-z_]*\\.cpp$")
  endif()
  if(SLUICE_BATCHES AND SLUICE_TEST_BATCHES_${name})
    sluice_batches(${name}_test ${SLUICE_TEST_BATCHES_${name}} tests ${CMAKE_SOURCE_DIR}/tests
                   ${SLUICE_TESTS_ALONE_${name}})
  endif()
  if(tests)
    add_executable(${name}_test ${tests})
    target_compile_options(${name}_test PRIVATE ${SLUICE_WARNINGS} ${SLUICE_COLD_PROGRAM_OPTIONS}
                                                ${SLUICE_PRECOMPILE_OPTIONS})
    if(name STREQUAL base)
      target_precompile_headers(base_test PRIVATE <gmock/gmock.h> <gtest/gtest.h>
                                                  ${SLUICE_STANDARD_HEADERS})
    elseif(NOT name STREQUAL monitor)  # ncurses' macros would make it another one
      target_precompile_headers(${name}_test REUSE_FROM base_test)
    endif()
    target_include_directories(${name}_test PRIVATE ${CMAKE_SOURCE_DIR}/tests)
    target_link_libraries(${name}_test PRIVATE sluice_${room} test_data GTest::gtest GTest::gmock
                                               GTest::gtest_main)
    set_target_properties(${name}_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY
                                                  ${CMAKE_BINARY_DIR}/tests)
    add_dependencies(tests ${name}_test)
  endif()
endfunction()

# Every room's tests; target tests is all of them, tsan_tests those with threads in them.
function(sluice_tests)
  add_custom_target(tests)
  add_custom_target(tsan_tests)
  add_library(test_data STATIC tests/test_data.cpp)
  target_compile_definitions(test_data PRIVATE SLUICE_TEST_DATA="${CMAKE_SOURCE_DIR}/tests")
  target_include_directories(test_data PUBLIC ${CMAKE_SOURCE_DIR}/tests)
  foreach(room IN LISTS SLUICE_ROOMS)
    sluice_room_tests(${room} ${room})
  endforeach()
  if(SLUICE_OUTER_ROOMS)
    sluice_room_tests(fidelity measure)
  endif()
  # What programs find in place of a driver's library, with LD_LIBRARY_PATH.
  add_library(fakenvml SHARED tests/tools/fake_nvml.cpp)
  target_compile_options(fakenvml PRIVATE ${SLUICE_WARNINGS})
  target_include_directories(fakenvml PRIVATE ${CMAKE_SOURCE_DIR}/src)
  set_target_properties(fakenvml PROPERTIES OUTPUT_NAME nvidia-ml SOVERSION 1
                        LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/nvml)
  add_dependencies(tests fakenvml)
  # The published regular expressions of the pre-tokenizers, as an oracle for our splitters.
  target_link_libraries(text_test PRIVATE PkgConfig::PCRE2)
  foreach(room backend engine http server)
    if(TARGET ${room}_test)
      add_dependencies(tsan_tests ${room}_test)
    endif()
  endforeach()
endfunction()

# fuzz_<name> from tests/fuzz/<name>_fuzz.cpp; corpus in tests/fuzz/corpus/<name>/.
function(sluice_fuzz_targets)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/*_fuzz.cpp)
  foreach(source IN LISTS sources)
    get_filename_component(stem ${source} NAME_WE)
    string(REGEX REPLACE "_fuzz$" "" target ${stem})
    add_executable(fuzz_${target} ${source})
    target_link_options(fuzz_${target} PRIVATE -fsanitize=fuzzer)
    target_link_libraries(fuzz_${target} PRIVATE sluice_gguf sluice_text sluice_grammar sluice_api
                                               sluice_store sluice_registry sluice_convert)
    set_target_properties(fuzz_${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY
                                                    ${CMAKE_BINARY_DIR}/fuzz)
  endforeach()
  # Of a room that needs more libraries than fuzzing can have, the files that read from outside.
  set(load_text goal.cpp prompts.cpp trace.cpp traffic_mix.cpp)
  file(GLOB sources ${CMAKE_SOURCE_DIR}/src/measure/run*.cpp)
  list(FILTER sources EXCLUDE REGEX "run_(witness|book)")
  target_sources(fuzz_run PRIVATE ${sources} ${CMAKE_SOURCE_DIR}/src/measure/plot.cpp
                                  ${CMAKE_SOURCE_DIR}/src/measure/timeline.cpp)
  list(TRANSFORM load_text PREPEND ${CMAKE_SOURCE_DIR}/src/measure/)
  target_sources(fuzz_load_text PRIVATE ${load_text})
endfunction()

# One program a file: bench/<name>.cpp becomes bench/<name>.
function(sluice_benchmarks)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/*.cpp)
  if(NOT SLUICE_HAS_CUDA)
    list(FILTER sources EXCLUDE REGEX "/gpu_")
  endif()
  foreach(source IN LISTS sources)
    get_filename_component(stem ${source} NAME_WE)
    add_executable(bench_${stem} ${source})
    target_compile_options(bench_${stem} PRIVATE ${SLUICE_WARNINGS})
    target_include_directories(bench_${stem} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
    target_link_libraries(bench_${stem} PRIVATE sluice_engine sluice_api benchmark::benchmark)
    set_target_properties(bench_${stem} PROPERTIES RUNTIME_OUTPUT_DIRECTORY
                                                   ${CMAKE_BINARY_DIR}/bench)
  endforeach()
endfunction()
