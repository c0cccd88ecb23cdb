# Which optional parts this build has. Each is found, or left out with one line that says so; ON makes
# its absence an error.
set(RUEDA_PARTS_REPORT "rueda ${PROJECT_VERSION}, ${CMAKE_BUILD_TYPE}")

function(rueda_report line)
  list(APPEND RUEDA_PARTS_REPORT "${line}")
  set(RUEDA_PARTS_REPORT "${RUEDA_PARTS_REPORT}" PARENT_SCOPE)
endfunction()

# Sets RUEDA_HAVE_<part> from what was found and what was asked for.
macro(rueda_part part found hint)
  if(RUEDA_WITH_${part} STREQUAL "OFF")
    set(RUEDA_HAVE_${part} FALSE)
    rueda_report("without ${part}: switched off (RUEDA_WITH_${part}=OFF)")
  elseif(${found})
    set(RUEDA_HAVE_${part} TRUE)
    rueda_report("with ${part}")
  elseif(RUEDA_WITH_${part} STREQUAL "ON")
    message(FATAL_ERROR "RUEDA_WITH_${part}=ON, but ${hint}")
  else()
    set(RUEDA_HAVE_${part} FALSE)
    rueda_report("without ${part}: ${hint}")
  endif()
endmacro()

if(RUEDA_BUILD_PYTHON)
  find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
endif()

# PyTorch: the one that the interpreter imports. Only its headers and libraries are used; asking its
# CMake package would look for a CUDA toolkit when the wheel was built with CUDA.
set(rueda_torch_found FALSE)
if(RUEDA_BUILD_PYTHON AND NOT RUEDA_WITH_TORCH STREQUAL "OFF")
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c
            "import importlib.util as u; print(list(u.find_spec('torch').submodule_search_locations)[0])"
    OUTPUT_VARIABLE RUEDA_TORCH_DIR OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET
    RESULT_VARIABLE rueda_torch_result)
  if(rueda_torch_result EQUAL 0 AND EXISTS ${RUEDA_TORCH_DIR}/include/ATen/core/Tensor.h)
    set(rueda_torch_found TRUE)
    file(STRINGS ${RUEDA_TORCH_DIR}/version.py rueda_torch_version_line REGEX "^__version__ = ")
    string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+[^']*" RUEDA_TORCH_VERSION
                 "${rueda_torch_version_line}")
  endif()
endif()
rueda_part(TORCH rueda_torch_found "no PyTorch in ${Python_EXECUTABLE} (pip install torch, then pip install --no-build-isolation .)")

set(rueda_gloo_found FALSE)
if(NOT RUEDA_WITH_GLOO STREQUAL "OFF")
  find_package(Gloo CONFIG QUIET)
  if(TARGET gloo)
    set(rueda_gloo_found TRUE)
  endif()
endif()
rueda_part(GLOO rueda_gloo_found "no Gloo found (Debian: apt-get install libgloo-dev)")

# Backends of these two arrive in later versions; ON must not pass silently.
foreach(part MPI CUDA)
  if(RUEDA_WITH_${part} STREQUAL "ON")
    message(FATAL_ERROR "RUEDA_WITH_${part}=ON, but rueda ${PROJECT_VERSION} has no ${part} backend yet")
  endif()
  rueda_report("without ${part}: rueda ${PROJECT_VERSION} has no ${part} backend yet")
endforeach()
