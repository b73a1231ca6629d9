# sluice_embed_openapi(target): the description of the HTTP API, as it is, in `target`, where
# server/openapi.h gives it out.
function(sluice_embed_openapi target)
  set(json ${CMAKE_SOURCE_DIR}/src/server/openapi.json)
  set(source ${CMAKE_BINARY_DIR}/openapi/openapi_json.cpp)
  file(CONFIGURE OUTPUT ${source} @ONLY CONTENT
"// Made by cmake/OpenApi.cmake.
#include \"server/openapi.h\"

asm(\".section .rodata\\nsluice_openapi:\\n.incbin \\\"${json}\\\"\\n\"
    \"sluice_openapi_end:\\n.previous\\n\");
extern \"C\" const char sluice_openapi[], sluice_openapi_end[];

namespace sluice::server {

std::string_view openapi_json() { return {sluice_openapi, sluice_openapi_end}; }

}  // namespace sluice::server
")
  set_property(SOURCE ${source} PROPERTY OBJECT_DEPENDS ${json})
  set_property(SOURCE ${source} PROPERTY COMPILE_OPTIONS -fno-lto)
  set_property(SOURCE ${source} PROPERTY SKIP_PRECOMPILE_HEADERS ON)
  target_sources(${target} PRIVATE ${source})
endfunction()
