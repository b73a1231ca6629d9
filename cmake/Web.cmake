# The web page: its files and the libraries that it uses, as they are, in the program. The libraries are
# Debian's, so that its security updates come in with the next build.

set(SLUICE_WEB_LIBRARIES
  chart.js  /usr/share/javascript/chart.js/chart.min.js         libjs-chart.js
  marked.js /usr/share/javascript/marked/marked.umd.min.js      libjs-marked
  purify.js /usr/share/nodejs/dompurify/dist/purify.min.js      node-dompurify)

# sluice_embed_page(target): every file of web/ under its own name, the libraries under lib/, in
# `target`, where server/page_files.h finds them.
function(sluice_embed_page target)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/web ${CMAKE_SOURCE_DIR}/web/*)
  set(names "")
  set(paths "")
  foreach(file IN LISTS files)
    list(APPEND names ${file})
    list(APPEND paths ${CMAKE_SOURCE_DIR}/web/${file})
  endforeach()
  set(libraries ${SLUICE_WEB_LIBRARIES})
  while(libraries)
    list(POP_FRONT libraries name path package)
    if(NOT EXISTS ${path})
      message(FATAL_ERROR "The web page needs ${path}: install the Debian package ${package}")
    endif()
    list(APPEND names lib/${name})
    list(APPEND paths ${path})
  endwhile()

  set(text "")
  set(table "")
  set(number 0)
  foreach(name path IN ZIP_LISTS names paths)
    string(APPEND text "asm(\".section .rodata\\n.balign 16\\nsluice_page_${number}:\\n"
           ".incbin \\\"${path}\\\"\\nsluice_page_${number}_end:\\n.previous\\n\");\n"
           "extern \"C\" const char sluice_page_${number}[], sluice_page_${number}_end[];\n")
    string(APPEND table "    {\"${name}\", {sluice_page_${number}, sluice_page_${number}_end}},\n")
    math(EXPR number "${number} + 1")
  endforeach()
  set(source ${CMAKE_BINARY_DIR}/web/page_files.cpp)
  file(CONFIGURE OUTPUT ${source} @ONLY CONTENT
"// Made by cmake/Web.cmake.
#include \"server/page_files.h\"

${text}
namespace sluice::server {

std::vector<PageFile> page_files() {
  return {
${table}  };
}

}  // namespace sluice::server
")
  set_property(SOURCE ${source} PROPERTY OBJECT_DEPENDS "${paths}")
  set_property(SOURCE ${source} PROPERTY COMPILE_OPTIONS -fno-lto)
  set_property(SOURCE ${source} PROPERTY SKIP_PRECOMPILE_HEADERS ON)
  target_sources(${target} PRIVATE ${source})
endfunction()
