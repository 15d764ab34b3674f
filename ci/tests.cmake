# SPDX-License-Identifier: MIT
#
# The tests: loops over the rows of the lists. A test is named label.subject and carries its label;
# exit code 77 is a skip that says why.
enable_testing()

# selftest rows: hand-written tests, one per row of bench/selftests.def
rows(${CMAKE_SOURCE_DIR}/bench/selftests.def SELFTEST SELFTESTS)
foreach(row IN LISTS SELFTESTS)
  string(REGEX REPLACE "\\|.*" "" name "${row}")
  string(REGEX REPLACE ".*\\|" "" label "${row}")
  add_test(NAME ${label}.${name} COMMAND mosaic selftest name=${name})
  set_tests_properties(${label}.${name} PROPERTIES LABELS ${label} SKIP_RETURN_CODE 77)
endforeach()
