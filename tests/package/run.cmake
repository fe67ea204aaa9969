# Installs the build, then uses it as others do: find_package with either library, pkg-config, and
# as a subproject. The program is the example of the README.
#   SOURCE, BUILD   our folders
#   CXX, CONFIG, LIBDIR, SYSTEM   what BUILD was made with and for
cmake_minimum_required(VERSION 3.20)

set(here ${SOURCE}/tests/package)
set(work ${BUILD}/package-test)
set(prefix ${work}/moved)
file(REMOVE_RECURSE ${work})
file(MAKE_DIRECTORY ${work})

function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${what} failed (${status}):\n${out}")
  endif()
  set(out "${out}" PARENT_SCOPE)
endfunction()

function(expect_file path)
  file(GLOB found ${prefix}/${path})
  if(NOT found)
    message(FATAL_ERROR "${path} is not installed")
  endif()
  list(GET found 0 found)
  set(found ${found} PARENT_SCOPE)
endfunction()

# Runs a program where the example finds its model, with the library path as given.
function(run_example what program library_path)
  run("${what}" ${CMAKE_COMMAND} -E chdir ${prefix}/share/nibble
      ${CMAKE_COMMAND} -E env LD_LIBRARY_PATH=${library_path} DYLD_LIBRARY_PATH=${library_path}
      ${program})
  string(STRIP "${out}" out)
  if(out STREQUAL "")
    message(FATAL_ERROR "${what}: the example says nothing")
  endif()
  message(STATUS "${what}: ${out}")
endfunction()

# Every function that the shared library defines for good is one of the API.
function(check_exports library)
  find_program(nm NAMES nm)
  if(NOT nm)
    return()
  endif()
  run("nm" ${nm} --dynamic --defined-only --demangle ${library})
  string(REGEX MATCHALL "[0-9a-f]+ [TDB] [^\n]+" symbols "${out}")
  set(n_ours 0)
  foreach(symbol ${symbols})
    if(NOT symbol MATCHES "^[0-9a-f]+ [TDB] (vtable for |typeinfo (name )?for )?nibble::")
      message(FATAL_ERROR "the shared library exports ${symbol}")
    endif()
    math(EXPR n_ours "${n_ours} + 1")
  endforeach()
  if(n_ours LESS 10)
    message(FATAL_ERROR "the shared library exports ${n_ours} names only:\n${out}")
  endif()
endfunction()

# ---- the example ---------------------------------------------------------------------------------

file(READ ${SOURCE}/README.md readme)
string(FIND "${readme}" "## Use it as a library" begin)
if(begin EQUAL -1)
  message(FATAL_ERROR "README.md has no heading \"Use it as a library\"")
endif()
string(SUBSTRING "${readme}" ${begin} -1 readme)
string(FIND "${readme}" "```cpp\n" begin)
math(EXPR begin "${begin} + 7")
string(SUBSTRING "${readme}" ${begin} -1 readme)
string(FIND "${readme}" "\n```" end)
string(SUBSTRING "${readme}" 0 ${end} example)
file(WRITE ${work}/main.cpp "${example}\n")

# ---- installation, moved afterwards --------------------------------------------------------------

run("installation" ${CMAKE_COMMAND} --install ${BUILD} --config ${CONFIG} --prefix ${work}/prefix)
file(RENAME ${work}/prefix ${prefix})
expect_file(bin/nibble)
run("the installed command" ${found} --version)
expect_file(include/nibble/nibble.h)
expect_file(share/nibble/models/*.nib)
expect_file(${LIBDIR}/libnibble.a)
expect_file(${LIBDIR}/pkgconfig/nibble.pc)
if(SYSTEM STREQUAL "Linux")
  expect_file(${LIBDIR}/libnibble.so.0)
  check_exports(${found})
endif()

# ---- find_package, pkg-config, FetchContent ------------------------------------------------------

function(configure what build source)
  run("${what}: configuration" ${CMAKE_COMMAND} -S ${source} -B ${build}
      -D CMAKE_CXX_COMPILER=${CXX} -D MAIN=${work}/main.cpp ${ARGN})
endfunction()

foreach(shared OFF ON)
  set(what "find_package, BUILD_SHARED_LIBS=${shared}")
  set(app ${work}/app-${shared})
  configure("${what}" ${app} ${here}/app -D BUILD_SHARED_LIBS=${shared}
            -D CMAKE_PREFIX_PATH=${prefix})
  run("${what}: build" ${CMAKE_COMMAND} --build ${app} --config ${CONFIG})
  run_example("${what}" ${app}/app "")
endforeach()

find_program(pkg_config NAMES pkg-config pkgconf)
if(pkg_config)
  run("pkg-config" ${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${prefix}/${LIBDIR}/pkgconfig
      ${pkg_config} --cflags --libs nibble)
  separate_arguments(flags UNIX_COMMAND "${out}")
  run("pkg-config: build" ${CXX} -std=c++20 ${work}/main.cpp ${flags} -o ${work}/app-pkg-config)
  run_example("pkg-config" ${work}/app-pkg-config ${prefix}/${LIBDIR})
endif()

# Configuring checks that nothing leaks; the sources are those that were built above.
configure("FetchContent" ${work}/embed ${here}/embed -D NIBBLE=${SOURCE})
message(STATUS "FetchContent: clean")

file(REMOVE_RECURSE ${work})
