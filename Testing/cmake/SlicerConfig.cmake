# Stand-in of what find_package(Slicer) brings, as far as this extension uses it. It carries out
# what the CMake files ask for (copy, install, register tests) without building anything, and
# refuses what Slicer would refuse, or would silently do wrong. For Testing/system/test_extension.py only.

set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/CPack.cmake)

set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.10/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR ${Slicer_QTSCRIPTEDMODULES_LIB_DIR})

# Never started; ctest lists the command of a test only where the program exists.
set(Slicer_LAUNCHER_EXECUTABLE ${CMAKE_COMMAND})
