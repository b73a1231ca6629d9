#!/usr/bin/env python3
"""Unpacks vocab-only GGUF files and chat templates from the source archive of llama-cpp-python.

    unpack_vocabularies.py ARCHIVE OUT    makes OUT/vocabs/*.gguf and OUT/templates/*.jinja
"""
import os
import shutil
import sys
import tarfile

archive, out = sys.argv[1:]
for kind in ("vocabs", "templates"):
    shutil.rmtree(f"{out}/{kind}.partial", ignore_errors=True)
    os.makedirs(f"{out}/{kind}.partial")
with tarfile.open(archive) as tar:
    for member in tar:
        folder, name = os.path.split(member.name)
        if not member.isfile():
            continue
        if folder.endswith("llama.cpp/models") and name.startswith("ggml-vocab-"):
            kind = "vocabs"
        elif folder.endswith("llama.cpp/models/templates") and name.endswith(".jinja"):
            kind = "templates"
        else:
            continue
        with open(f"{out}/{kind}.partial/{name}", "wb") as target:
            shutil.copyfileobj(tar.extractfile(member), target)
for kind in ("vocabs", "templates"):
    os.replace(f"{out}/{kind}.partial", f"{out}/{kind}")
