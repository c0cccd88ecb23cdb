# Options, compiler flags and the compiler cache.
foreach(part TORCH GLOO MPI CUDA)
  set(RUEDA_WITH_${part} AUTO CACHE STRING "Build with ${part}: AUTO, ON or OFF")
  set_property(CACHE RUEDA_WITH_${part} PROPERTY STRINGS AUTO ON OFF)
endforeach()
option(RUEDA_BUILD_PYTHON "Build the Python modules" ON)
option(RUEDA_BUILD_TESTS "Build the C++ tests" OFF)
option(RUEDA_WERROR "Treat warnings as errors" OFF)
set(RUEDA_SANITIZE "" CACHE STRING "Sanitizers to build with, such as address,undefined or thread")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
find_package(Threads REQUIRED)

find_program(RUEDA_CCACHE ccache)
if(RUEDA_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # What it wants to be told before it keeps sources with a precompiled header.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
                                  CCACHE_SLOPPINESS=pch_defines,time_macros ${RUEDA_CCACHE})
endif()

# Linked by every target of the project.
add_library(rueda_flags INTERFACE)
target_include_directories(rueda_flags INTERFACE ${PROJECT_SOURCE_DIR}/csrc)
# No contraction to fused multiply-add: every rank and instruction set must round alike.
target_compile_options(rueda_flags INTERFACE -ffp-contract=off -Wall -Wextra -Wpedantic -Wshadow
                                             -Wnon-virtual-dtor -Woverloaded-virtual)
# Nobody puts another function in place of one of librueda's, so what shows outside may be inlined.
target_compile_options(rueda_flags INTERFACE -fno-semantic-interposition)
target_link_libraries(rueda_flags INTERFACE Threads::Threads)
if(RUEDA_WERROR)
  # g++ 12 sees overlapping copies and uninitialised memory inside its own headers (bugs 105329,
  # 105593); those two stay warnings.
  target_compile_options(rueda_flags INTERFACE -Werror -Wno-error=restrict
                                               -Wno-error=maybe-uninitialized)
  if(RUEDA_BUILD_TESTS)
    # With precompiled headers it sees overrun strings there, too; for other builds that is an error.
    target_compile_options(rueda_flags INTERFACE -Wno-error=array-bounds)
  endif()
endif()
if(RUEDA_SANITIZE)
  target_compile_options(rueda_flags INTERFACE -fsanitize=${RUEDA_SANITIZE}
                                               -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(rueda_flags INTERFACE -fsanitize=${RUEDA_SANITIZE})
endif()

# Reading these is half of what compiling a source costs. A build with tests precompiles them; any
# other, such as a wheel's, does not, and so notices an include that is missing.
set(RUEDA_STANDARD_HEADERS
    <algorithm> <array> <atomic> <chrono> <condition_variable> <cstdint> <cstring> <deque>
    <functional> <map> <memory> <mutex> <optional> <random> <set> <span> <string> <string_view>
    <thread> <unordered_map> <utility> <variant> <vector>)

# target_precompile_headers, with the option that ccache needs to know a source compiled that way.
function(rueda_precompile name)
  target_precompile_headers(${name} ${ARGN})
  target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
endfunction()

# Sources that are compiled with flags of their own, which no precompiled header fits.
function(rueda_source_options options)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS "${options}"
                                                 SKIP_PRECOMPILE_HEADERS ON)
endfunction()

# One layer: an object library of its sources that may include what it links.
function(rueda_layer name)
  cmake_parse_arguments(LAYER "" "" "SOURCES;LINKS" ${ARGN})
  add_library(${name} OBJECT ${LAYER_SOURCES})
  target_link_libraries(${name} PUBLIC rueda_flags ${LAYER_LINKS})
  if(RUEDA_BUILD_TESTS AND name STREQUAL rueda_core)
    rueda_precompile(${name} PRIVATE ${RUEDA_STANDARD_HEADERS})
  elseif(RUEDA_BUILD_TESTS)
    rueda_precompile(${name} REUSE_FROM rueda_core)
  endif()
endfunction()
