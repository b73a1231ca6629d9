"""Writes tests/text/golden/templates/: what Python's jinja2, as transformers sets it up, makes of our
snippets, of random templates, and (as digests) of published templates.

    python3 tests/tools/make_template_goldens.py [--templates FOLDER] [--models FOLDER]

FOLDER of --templates holds *.jinja files, FOLDER of --models GGUF files (package `gguf`). Without
them the digests stay as they are. Needs jinja2 and transformers.
"""

import argparse
import json
import pathlib
import re
import warnings

import random_templates
import template_reference
import template_snippets

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "text" / "golden" / "templates"
NUM_RANDOM = 1000
MAX_TEXT, MAX_RANDOM_TEXT = 20000, 300
# What Python renders and we refuse on purpose: random output, integers beyond 64 bits, and what is
# there for HTML, for families of templates, or for layouts that no prompt needs.
REFUSED = [re.compile(pattern) for pattern in (
    r"\|\s*(e|escape|forceescape|striptags|xmlattr|urlize|urlencode|filesizeformat|pprint|wordwrap|wordcount|"
    r"truncate|center|attr|random|batch|slice|groupby)\b",
    r"\bfilter center\b|is (escaped|filter|test)\b|map\('nope'\)|sort\(attribute='age,name'",
    r"[\dn)] \*\* |\{\{ \+|\+\+|\(\*[^*]|macro.*\b(varargs|kwargs)\b|'o', 5, 9|l\[1,2\]",
    r"\.(center|cycle|swapcase|casefold|expandtabs|istitle|isidentifier|isprintable|encode|translate|format_map|"
    r"fromkeys|bit_length|is_integer)\b|'abc'\.__class__|s\.__len__|d\['__",
    r"\b(lipsum|cycler|joiner)\(|\{\{ loop \}\};|\{\{ namespace\(a=1\) \}\}|\[1\]\) %\}\{\{ ns \}\}",
    r"{%-?\s*(block|autoescape|print|include|import|from|extends)\b",
    r"1_000_000|0x1F|\\101|ä = 1|rsplit\(none, \d|%f\|",
    r"int\((base|0, \d)|'1e400'\|float|\|round\(-|1e309",
    r"%x %X|%g %G|%r %a|%c%c|%-?\*d|%\.\*f|%#|%i %u",
    r"\{[a0]\[|\{0\.|\{:[+#=0-9]*[,_xbocea]|\{:\.3\} \{:\.1\}|\{![rsa]|\{:\{|\{:=|\{:%|\{:0\d+,",
    r"\(1/3\)|99999999999999999999|1e30\|int|9223372036854775807 \+ 1|2 \*\* 6[34]|10 \*\* 18 \* 10",
    r"%1000000000d|\{:1000000000\}",
)]


def digest(chunks):
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for chunk in chunks:
        for byte in chunk:
            value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def write(name, data):
    path = GOLDEN / name
    path.write_text(data)
    print(f"{path.name}: {len(data)} bytes")


def lines_of(rows):
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"


def cases(templates, max_text):
    rows = []
    for template in templates:
        text, _ = template_reference.render(template, template_snippets.CONTEXT)
        if any(pattern.search(template) for pattern in REFUSED):
            text = None
        if random_templates.is_comparable(text) and len(text or "") <= max_text:
            rows.append([template, text])
    return rows


def render_digest(source):
    chunks = []
    for _, context in template_reference.contexts():
        text, _ = template_reference.render(source, context)
        chunks.append(b"\x01" if text is None else text.encode() + b"\x00")
    return digest(chunks)


def published_sources(arguments):
    if arguments.templates:
        for path in sorted(arguments.templates.glob("*.jinja")):
            yield path.name, path.read_text()
    if arguments.models:
        import gguf

        for path in sorted(arguments.models.glob("*.gguf")):
            field = gguf.GGUFReader(path).get_field("tokenizer.chat_template")
            if field is not None:
                yield path.name, field.contents()


def main():
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("--templates", type=pathlib.Path)
    parser.add_argument("--models", type=pathlib.Path)
    arguments = parser.parse_args()
    GOLDEN.mkdir(parents=True, exist_ok=True)
    snippets = ["{{ %s }}" % e for e in template_snippets.EXPRESSIONS] + template_snippets.TEMPLATES
    generator = random_templates.Generator(20260704)
    write("context.json", json.dumps(template_snippets.CONTEXT, ensure_ascii=False) + "\n")
    write("snippets.json", lines_of(cases(snippets, MAX_TEXT)))
    sample = (generator.template() for _ in range(NUM_RANDOM))
    write("random.json", lines_of(cases(sample, MAX_RANDOM_TEXT)))
    reference = template_reference
    conversations = {"conversations": reference.CONVERSATIONS, "options": reference.OPTIONS}
    write("conversations.json", json.dumps(conversations, ensure_ascii=False) + "\n")
    published = [
        [name, digest([source.encode()]), render_digest(source)]
        for name, source in published_sources(arguments)
    ]
    if published:
        write("published.json", lines_of(published))


main()
