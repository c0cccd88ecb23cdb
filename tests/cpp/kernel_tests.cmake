# Tests for another architecture: those of csrc/device alone, with the layers below it, because an
# emulator runs them. What shares memory and wakes threads is no matter of instruction sets.
add_executable(rueda_tests main.cc copy_test.cc floating_point_mode_test.cc half_test.cc
                           kernel_sets_test.cc reduce_rules_test.cc reduce_test.cc)

# Catch2's own target names all headers of this machine, whose C library is another one's.
get_target_property(catch2_headers Catch2::Catch2 INTERFACE_INCLUDE_DIRECTORIES)
file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/include)
file(CREATE_LINK ${catch2_headers}/catch2 ${CMAKE_CURRENT_BINARY_DIR}/include/catch2 SYMBOLIC)
target_include_directories(rueda_tests SYSTEM PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/include)
target_include_directories(rueda_tests PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(rueda_tests PRIVATE rueda_core rueda_device)
rueda_source_options("-O1;-g0" main.cc)
catch_discover_tests(rueda_tests PROPERTIES TIMEOUT 300)
