# A file that is compiled for one instruction set must share no function with the others: of two
# copies of an inline function the linker keeps one, and it may be the one that the CPU cannot run.
# NM is the symbol lister, OBJECTS the kernels' object files, SOURCES the names of those sources that
# have instruction set flags.
cmake_minimum_required(VERSION 3.20)

if(NOT NM)
  message("skipped: nm is absent")
  return()
endif()

set(wrong "")
set(n_files 0)
foreach(object ${OBJECTS})
  get_filename_component(name ${object} NAME_WE)
  if(NOT name IN_LIST SOURCES)
    continue()
  endif()
  execute_process(COMMAND ${NM} ${object} OUTPUT_VARIABLE symbols RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${NM} ${object} failed: ${status}")
  endif()
  math(EXPR n_files "${n_files} + 1")
  string(REGEX MATCHALL "[0-9a-f]+ W [^\n]+" weak "${symbols}")  # defined, and weak
  foreach(symbol ${weak})
    string(APPEND wrong "${name}: ${symbol}\n")
  endforeach()
endforeach()

list(LENGTH SOURCES n_expected)
if(NOT n_files EQUAL n_expected)
  message(FATAL_ERROR "found ${n_files} objects, expected those of ${SOURCES}")
endif()
if(wrong)
  message(FATAL_ERROR "functions that other files may share:\n${wrong}")
endif()
message(STATUS "${n_files} objects, no weak function")
