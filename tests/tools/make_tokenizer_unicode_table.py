#!/usr/bin/env python3
"""Writes src/text/unicode_table.inc: the general categories of all code points as ranges.

Pre-tokenizers see text through these classes, so the Unicode version decides where words are split.
15.1 is the version the reference tokenizer of GGUF files uses; Python's own unicodedata is another
one, hence:  pip install unicodedata2==15.1.0 && python3 make_tokenizer_unicode_table.py
"""
import pathlib
import sys

import unicodedata2

VERSION = "15.1.0"
# The order of sluice::text::CharClass.
CLASSES = ["other", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "N", "P", "S", "space"]
WHITE_SPACE = {0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0x20,
               *range(0x09, 0x0E), *range(0x2000, 0x200B)}


def char_class(code):
    if code in WHITE_SPACE:
        return CLASSES.index("space")
    category = unicodedata2.category(chr(code))
    if category in CLASSES:
        return CLASSES.index(category)
    return CLASSES.index(category[0]) if category[0] in "MNPS" else 0


def main():
    if unicodedata2.unidata_version != VERSION:
        sys.exit(f"need unicodedata2=={VERSION}, found {unicodedata2.unidata_version}")
    entries = []
    previous = None
    for code in range(0x110000):
        current = char_class(code)
        if current != previous:
            entries.append(f"0x{code << 4 | current:x}")
            previous = current
    lines = [f"// Unicode {VERSION}, made by tests/tools/make_tokenizer_unicode_table.py: for each range of",
             "// code points of one class, first code point * 16 + class (CharClass)."]
    line = ""
    for entry in entries:
        if len(line) + len(entry) + 2 > 100:
            lines.append(line.rstrip())
            line = ""
        line += entry + ", "
    lines.append(line.rstrip())
    path = pathlib.Path(__file__).resolve().parents[2] / "src/text/unicode_table.inc"
    path.write_text("\n".join(lines) + "\n")
    print(f"{path}: {len(entries)} ranges")


if __name__ == "__main__":
    main()
