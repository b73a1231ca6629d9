# What `cmake --install` and `cpack` put where, and the Debian package around it: scripts/package.sh.


set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)  # tests do not go with it

# sluice_generated(file argument...): a file in the build folder that the program itself writes.
function(sluice_generated file)
  add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/deploy/${file}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/deploy
    COMMAND sluice ${ARGN} > ${CMAKE_BINARY_DIR}/deploy/${file}
    DEPENDS sluice VERBATIM)
  set_property(GLOBAL APPEND PROPERTY SLUICE_GENERATED ${CMAKE_BINARY_DIR}/deploy/${file})
endfunction()

# sluice_compressed(file source): `source` with gzip, without times or names in it.
function(sluice_compressed file source)
  add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/deploy/${file}
    COMMAND gzip -9nc ${source} > ${CMAKE_BINARY_DIR}/deploy/${file}
    DEPENDS ${source} VERBATIM)
  set_property(GLOBAL APPEND PROPERTY SLUICE_GENERATED ${CMAKE_BINARY_DIR}/deploy/${file})
endfunction()

# The notices of the libraries whose code is in the program itself: those in headers, those of the page.
set(SLUICE_EMBEDDED_LIBRARIES libboost1.81-dev libcli11-dev libfmt-dev libspdlog-dev nlohmann-json3-dev
    libjs-chart.js libjs-marked node-dompurify)

function(sluice_install)
  set(made ${CMAKE_BINARY_DIR}/deploy)
  sluice_generated(sluice.bash completion bash)
  sluice_generated(sluice.zsh completion zsh)
  sluice_generated(sluice.fish completion fish)
  sluice_generated(sluice.1 manual)
  sluice_compressed(sluice.1.gz ${made}/sluice.1)
  sluice_compressed(changelog.gz ${CMAKE_SOURCE_DIR}/deploy/debian/changelog)
  get_property(generated GLOBAL PROPERTY SLUICE_GENERATED)
  add_custom_target(deploy_files ALL DEPENDS ${generated})

  install(TARGETS sluice RUNTIME DESTINATION bin)
  install(FILES ${made}/sluice.bash DESTINATION share/bash-completion/completions RENAME sluice)
  install(FILES ${made}/sluice.zsh DESTINATION share/zsh/vendor-completions RENAME _sluice)
  install(FILES ${made}/sluice.fish DESTINATION share/fish/vendor_completions.d)
  install(FILES ${made}/sluice.1.gz DESTINATION share/man/man1)
  install(FILES ${made}/changelog.gz deploy/debian/copyright docs/operations.md docs/monitoring.md
                deploy/grafana/sluice.json DESTINATION share/doc/sluice)
  foreach(package IN LISTS SLUICE_EMBEDDED_LIBRARIES)
    install(FILES /usr/share/doc/${package}/copyright DESTINATION share/doc/sluice/libraries
            RENAME ${package})
  endforeach()
  install(FILES deploy/systemd/sluice.service deploy/systemd/sluice.socket
          DESTINATION /lib/systemd/system)
  install(FILES deploy/systemd/sluice.default DESTINATION /etc/default RENAME sluice)
  install(FILES deploy/debian/logrotate DESTINATION /etc/logrotate.d RENAME sluice)
endfunction()
sluice_install()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME sluice)
set(CPACK_PACKAGE_VENDOR "Sluice")
set(CPACK_PACKAGE_CONTACT "The maintainers of Sluice <maintainers@sluice.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "server for open-weight language models, with a monitor")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"Runs open-weight language models (GGUF files) on this machine with its own
engine and answers the clients of Ollama, OpenAI and Anthropic over HTTP,
many at a time. It measures and watches itself: load tests, a live view in
the terminal and in the browser, metrics for Prometheus, and the life of
each request.")
set(CPACK_SET_DESTDIR ON)  # /etc and /lib are not under the prefix
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ
    GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser, init-system-helpers (>= 1.54)")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates, systemd")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "logrotate, prometheus")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
file(WRITE ${CMAKE_BINARY_DIR}/deploy/conffiles "/etc/default/sluice\n/etc/logrotate.d/sluice\n")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/deploy/debian/postinst
    ${CMAKE_SOURCE_DIR}/deploy/debian/prerm ${CMAKE_SOURCE_DIR}/deploy/debian/postrm
    ${CMAKE_BINARY_DIR}/deploy/conffiles)
include(CPack)
