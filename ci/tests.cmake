# SPDX-License-Identifier: MIT
#
# The tests: loops over the rows of the lists. A test is named label.subject and carries its label;
# exit code 77 is a skip that says why.
enable_testing()

# A list without rows would be tests that nobody misses.
function(expect_rows list)
  if(NOT ${list})
    message(FATAL_ERROR "tests: ${list}: expected at least one row")
  endif()
endfunction()

# selftest rows: hand-written tests, one per row of bench/test/selftests.def
rows(${CMAKE_SOURCE_DIR}/bench/test/selftests.def SELFTEST SELFTESTS)
expect_rows(SELFTESTS)
foreach(row IN LISTS SELFTESTS)
  string(REGEX REPLACE "\\|.*" "" name "${row}")
  string(REGEX REPLACE ".*\\|" "" label "${row}")
  add_test(NAME ${label}.${name} COMMAND mosaic selftest name=${name})
  set(labels ${label})
  if(WITH_CUDA AND name MATCHES "^model_") # of every model
    list(APPEND labels gpu)
  endif()
  set_tests_properties(${label}.${name} PROPERTIES LABELS "${labels}" SKIP_RETURN_CODE 77)
endforeach()

# verb check: a test per row of the lists
function(check label name)
  add_test(NAME ${label}.${name} COMMAND mosaic check ${ARGN})
  set_tests_properties(${label}.${name} PROPERTIES LABELS ${label} SKIP_RETURN_CODE 77)
endfunction()

# laws of every operation, gradients of those that have one
file(STRINGS ${CMAKE_SOURCE_DIR}/reference/ops.def OP_LINES REGEX "^OP\\(")
expect_rows(OP_LINES)
foreach(line IN LISTS OP_LINES)
  string(REGEX MATCH "^OP\\( *([a-z0-9_]+)" _ "${line}")
  set(op ${CMAKE_MATCH_1})
  check(law ${op} what=law op=${op} impl=ref)
  if(line MATCHES "[ ,]${op}_grad,")
    check(grad ${op} what=grad op=${op} impl=ref)
  endif()
endforeach()

# theorems
rows(${CMAKE_SOURCE_DIR}/bench/check/claims.def CLAIM CLAIMS)
expect_rows(CLAIMS)
foreach(row IN LISTS CLAIMS)
  string(REGEX REPLACE "\\|.*" "" name "${row}")
  check(claim ${name} what=claim claim=${name})
endforeach()

# vectors of other code
file(GLOB GOLDEN CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/reference/golden/*.h5)
expect_rows(GOLDEN)
foreach(path IN LISTS GOLDEN)
  get_filename_component(name ${path} NAME_WE)
  check(golden ${name} golden=${path})
  if(NOT name STREQUAL "transforms")
    check(gpu golden.${name} golden=${path} backend=cuda type=f32,bf16)
  endif()
endforeach()

# the yardstick is not checked by any kernel's test
if(OPENBLAS AND CBLAS_H)
  check(match linear.openblas what=match op=linear impl=openblas)
endif()

# Every kernel against the reference, and its laws; where it cannot run the test says so. Built for a
# GPU, each storage and alpha is a test of its own: a machine's cores run them at once, the longest
# first, and what they found lies in match/*.h5.
set(TYPES f32,bf16,f16)
set(ALPHAS 3,1.75,1.1,1.25,4/3,1.5,2)
if(WITH_CUDA)
  string(REPLACE "," ";" TYPES ${TYPES})
  string(REPLACE "," ";" ALPHAS ${ALPHAS})
endif()
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/match)

# words; `part` is the name of one of the tests that a GPU makes of it
function(gpu_check cell part cost)
  if(WITH_CUDA)
    string(REPLACE "/" "_" part "${part}")
    set(cell ${cell}${part})
    list(APPEND ARGN out=match/${cell}.h5)
  endif()
  check(match ${cell} ${ARGN})
  set_tests_properties(match.${cell} PROPERTIES LABELS "match;gpu" TIMEOUT 1200 COST ${cost}
    ENVIRONMENT OMP_NUM_THREADS=1)
endfunction()

expect_rows(KERNELS)
foreach(row IN LISTS KERNELS)
  string(REPLACE "|" ";" row "${row}")
  list(GET row 0 op)
  list(GET row 1 name)
  set(alphas -)
  if(op MATCHES "^entmax")
    set(alphas ${ALPHAS})
  endif()
  set(cost 0)
  if(op MATCHES "normrelu")
    set(cost 100)
  elseif(op MATCHES "topk|relumax|entmax")
    set(cost 50)
  endif()
  foreach(type IN LISTS TYPES)
    foreach(alpha IN LISTS alphas)
      set(part .${type})
      set(words op=${op} impl=${name} type=${type})
      if(type MATCHES "f32") # laws are those of float32
        list(PREPEND words what=match,law)
      else()
        list(PREPEND words what=match)
      endif()
      if(NOT alpha STREQUAL "-")
        string(APPEND part .${alpha})
        list(APPEND words alpha=${alpha})
      endif()
      gpu_check(${op}.${name} ${part} ${cost} ${words})
    endforeach()
  endforeach()
endforeach()

# Rows that a cluster of blocks shares, unaligned; and rows that are too long for it.
set(ops ${KERNELS})
list(FILTER ops INCLUDE REGEX "^[^|]*\\|rows")
list(TRANSFORM ops REPLACE "\\|.*" "")
list(JOIN ops "," ops)
foreach(type IN LISTS TYPES)
  gpu_check(long .${type} 100 what=match op=${ops} impl=rows type=${type} alpha=1.75,3
    n=33001,262145 rows=2 input=gauss,masked,spike)
endforeach()

# Products of ever new sizes, aligned in every way, several of each rounded size (matmul.cu).
foreach(type IN LISTS TYPES)
  gpu_check(products .${type} 10 what=match op=linear,linear_grad impl=cublas type=${type}
    n=1025,1026,1028,1032,1040,1047,1056,1088,61,62,64,1 rows=37)
endforeach()

# the program under a hostile user, and without memory or disk
add_test(NAME unit.hostile COMMAND ${CMAKE_SOURCE_DIR}/ci/hostile $<TARGET_FILE:mosaic>)
if(WITH_CUDA) # its run time is linked in, and would be made to fail before main
  add_test(NAME unit.faults COMMAND sh -c "echo 'skipped: expected a build without CUDA'; exit 77")
else()
  add_test(NAME unit.faults COMMAND ${CMAKE_SOURCE_DIR}/ci/faults $<TARGET_FILE:faulty>)
endif()
set_tests_properties(unit.hostile unit.faults PROPERTIES LABELS unit SKIP_RETURN_CODE 77)
set_tests_properties(unit.hostile PROPERTIES COST 200) # seconds of one core: begun first, they end with the others
set_tests_properties(unit.faults PROPERTIES COST 300)

# what DESIGN says of a new transform
add_test(NAME unit.grow COMMAND ${CMAKE_SOURCE_DIR}/ci/grow)
set_tests_properties(unit.grow PROPERTIES LABELS unit COST 100)

# what make install leaves
if(NOT SANITIZE) # what is installed links with any compiler
  add_test(NAME unit.installed COMMAND ${CMAKE_SOURCE_DIR}/ci/installed ${CMAKE_BINARY_DIR})
  set_tests_properties(unit.installed PROPERTIES LABELS unit COST 60)
endif()

# the committed tables, and how those of another card would come to be
add_test(NAME reproduce.tables COMMAND ${CMAKE_SOURCE_DIR}/ci/reproduce $<TARGET_FILE:mosaic>)
add_test(NAME reproduce.cards COMMAND ${CMAKE_SOURCE_DIR}/ci/cards $<TARGET_FILE:mosaic>)
set_tests_properties(reproduce.tables reproduce.cards PROPERTIES LABELS reproduce COST 100)
