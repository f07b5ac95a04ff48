# Installs the description that the extensions manager shows: a line "name value" for each field.

if(NOT standin_config_generated)
  message(FATAL_ERROR "Slicer_EXTENSION_GENERATE_CONFIG must be included before the packaging")
endif()

set(lines "name ${PROJECT_NAME}\n")
foreach(field HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS RECOMMENDS
    KEYWORDS)
  # Slicer passes the values on unquoted, so that what follows a semicolon would be lost.
  if("${EXTENSION_${field}}" STREQUAL "" OR EXTENSION_${field} MATCHES ";")
    message(FATAL_ERROR "EXTENSION_${field} must be one string: \"${EXTENSION_${field}}\"")
  endif()
  string(TOLOWER ${field} name)
  string(APPEND lines "${name} ${EXTENSION_${field}}\n")
endforeach()
file(WRITE ${CMAKE_BINARY_DIR}/${PROJECT_NAME}.s4ext "${lines}")
install(FILES ${CMAKE_BINARY_DIR}/${PROJECT_NAME}.s4ext
  DESTINATION share/Slicer-5.10 COMPONENT RuntimeLibraries)
