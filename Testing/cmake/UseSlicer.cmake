# The macros that Slicer gives to an extension; functions here, so that nothing leaks.

include(CTest)

function(standin_refuse_leftovers macro)
  if(MY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "${macro} was given unknown keywords: ${MY_UNPARSED_ARGUMENTS}")
  endif()
endfunction()

# Copies at once what the real one copies when the extension is built.
function(ctkMacroCompilePythonScript)
  cmake_parse_arguments(MY
    "NO_INSTALL_SUBDIR" "TARGET_NAME;DESTINATION_DIR;INSTALL_DIR" "SCRIPTS;RESOURCES" ${ARGN})
  standin_refuse_leftovers(ctkMacroCompilePythonScript)
  foreach(keyword TARGET_NAME SCRIPTS DESTINATION_DIR INSTALL_DIR NO_INSTALL_SUBDIR)
    if(NOT MY_${keyword})
      message(FATAL_ERROR "ctkMacroCompilePythonScript needs ${keyword}")
    endif()
  endforeach()

  foreach(file ${MY_SCRIPTS} ${MY_RESOURCES})
    if(IS_ABSOLUTE ${file} OR file MATCHES "\\.\\.")
      message(FATAL_ERROR "${file} would be copied to outside of ${MY_DESTINATION_DIR}")
    endif()
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "${file} does not exist in ${CMAKE_CURRENT_SOURCE_DIR}")
    endif()
    if(IS_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "${file} is a folder, and only files can be copied")
    endif()
    get_property(copied GLOBAL PROPERTY standin_copied)
    if(${MY_DESTINATION_DIR}/${file} IN_LIST copied)
      message(FATAL_ERROR "${file} is listed twice")
    endif()
    set_property(GLOBAL APPEND PROPERTY standin_copied ${MY_DESTINATION_DIR}/${file})
    configure_file(${file} ${MY_DESTINATION_DIR}/${file} COPYONLY)
  endforeach()
  foreach(file ${MY_SCRIPTS})
    if(NOT file MATCHES "\\.py$")
      message(FATAL_ERROR "${file} is no Python file and cannot be compiled")
    endif()
  endforeach()

  install(DIRECTORY ${MY_DESTINATION_DIR}/
    DESTINATION ${MY_INSTALL_DIR} COMPONENT RuntimeLibraries)
endfunction()

function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  standin_refuse_leftovers(slicerMacroBuildScriptedModule)
  ctkMacroCompilePythonScript(
    TARGET_NAME ${MY_NAME}
    SCRIPTS "${MY_SCRIPTS}"
    RESOURCES "${MY_RESOURCES}"
    DESTINATION_DIR ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}
    INSTALL_DIR ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}
    NO_INSTALL_SUBDIR
    )
  if(BUILD_TESTING AND MY_WITH_GENERIC_TESTS)
    add_test(NAME py_nomainwindow_qSlicer${MY_NAME}ModuleGenericTest
      COMMAND ${Slicer_LAUNCHER_EXECUTABLE})
  endif()
endfunction()

function(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  standin_refuse_leftovers(slicer_add_python_unittest)
  standin_add_test(--python-code ${MY_SCRIPT})
endfunction()

function(slicer_add_python_test)
  cmake_parse_arguments(MY "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS;SCRIPT_ARGS" ${ARGN})
  standin_refuse_leftovers(slicer_add_python_test)
  standin_add_test(--python-script ${CMAKE_CURRENT_SOURCE_DIR}/${MY_SCRIPT} ${MY_SCRIPT_ARGS})
endfunction()

function(standin_add_test)
  if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${MY_SCRIPT})
    message(FATAL_ERROR "The test's script ${MY_SCRIPT} does not exist")
  endif()
  get_filename_component(name ${MY_SCRIPT} NAME_WE)
  add_test(NAME py_${MY_TESTNAME_PREFIX}${name}
    COMMAND ${Slicer_LAUNCHER_EXECUTABLE} --no-splash --testing ${MY_SLICER_ARGS} ${ARGN})
endfunction()
