# SPDX-License-Identifier: MIT
#
# What `make install` puts where: the program with its manual page and the words of a shell, and the
# library (reference and kernels, static and shared) with headers, pkg-config and CMake files. Built only
# when asked for: target `installable`, then cmake --install.
add_library(reference_shared SHARED EXCLUDE_FROM_ALL ${REFERENCE_C})
target_link_libraries(reference_shared PUBLIC spec m OpenMP::OpenMP_C PRIVATE strict)
set_target_properties(reference_shared PROPERTIES OUTPUT_NAME mosaic
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
if(CMAKE_C_COMPILER_ID STREQUAL GNU)
  target_compile_options(reference_shared PRIVATE -fno-semantic-interposition)
endif()

set(manual ${CMAKE_BINARY_DIR}/mosaic.1)
set(completion ${CMAKE_BINARY_DIR}/mosaic.bash)
add_custom_command(OUTPUT ${manual} COMMAND mosaic list verbs format=man >${manual} DEPENDS mosaic)
add_custom_command(OUTPUT ${completion} COMMAND mosaic list verbs format=bash >${completion} DEPENDS mosaic)
add_custom_target(installable DEPENDS mosaic reference reference_shared ${manual} ${completion})

configure_file(ci/mosaic.pc.in mosaic.pc @ONLY)
configure_file(ci/mosaic-config.cmake.in mosaic-config.cmake @ONLY)
include(CMakePackageConfigHelpers)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/mosaic-config-version.cmake COMPATIBILITY SameMajorVersion)

install(TARGETS mosaic RUNTIME DESTINATION bin)
install(FILES $<TARGET_FILE:reference> DESTINATION lib RENAME libmosaic.a)
install(TARGETS reference_shared LIBRARY DESTINATION lib)
install(FILES reference/spec.h reference/mosaic.h reference/ops.def reference/params.def reference/methods.def
  reference/switches.def reference/parameters.def kernels/kernels.h kernels/kernels.def DESTINATION include/mosaic)
install(FILES ${CMAKE_BINARY_DIR}/mosaic.pc DESTINATION lib/pkgconfig)
install(FILES ${CMAKE_BINARY_DIR}/mosaic-config.cmake ${CMAKE_BINARY_DIR}/mosaic-config-version.cmake
  DESTINATION lib/cmake/mosaic)
install(FILES ${manual} DESTINATION share/man/man1)
install(FILES ${completion} DESTINATION share/bash-completion/completions RENAME mosaic)
install(DIRECTORY tasks/data/gpt2 DESTINATION share/mosaic)

if(WITH_CUDA)
  set_target_properties(kernels PROPERTIES POSITION_INDEPENDENT_CODE ON)
  file(WRITE ${CMAKE_BINARY_DIR}/kernels.c "typedef int of_kernels;\n")
  add_library(kernels_shared SHARED EXCLUDE_FROM_ALL ${CMAKE_BINARY_DIR}/kernels.c)
  set_target_properties(kernels_shared PROPERTIES OUTPUT_NAME mosaic_kernels LINKER_LANGUAGE CUDA)
  target_link_libraries(kernels_shared PRIVATE "$<LINK_LIBRARY:WHOLE_ARCHIVE,kernels>" reference_shared)
  add_dependencies(installable kernels_shared)
  install(FILES $<TARGET_FILE:kernels> DESTINATION lib RENAME libmosaic_kernels.a)
  install(TARGETS kernels_shared LIBRARY DESTINATION lib)
endif()
