"""Renders every template of a folder with our program and with Python's jinja2 (as transformers sets
it up), and says how many come out identical.

    python3 tests/tools/compare_templates.py FOLDER --sluice build/release/sluice
    python3 tests/tools/compare_templates.py FOLDER --batch PROGRAM

With --sluice, `sluice render` is called for each conversation (generation prompt on). --batch runs
PROGRAM once: it reads lines of {"template", "context", "now"} and answers {"out"} or {"error"}; then
all options are tried. A template counts as identical when every case gives the same text, or an error
on both sides.
"""

import argparse
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile

import template_reference


def batch_results(program, sources, cases):
    lines = [
        json.dumps({"template": source, "context": context, "now": True})
        for source in sources.values()
        for _, context in cases
    ]
    done = subprocess.run([program], input="\n".join(lines) + "\n", capture_output=True, text=True)
    answers = [json.loads(line) for line in done.stdout.split("\n") if line]
    if len(answers) != len(lines):
        sys.exit(f"{program} answered {len(answers)} of {len(lines)} cases: {done.stderr[-500:]}")
    results = {}
    for name in sources:
        results[name], answers = answers[: len(cases)], answers[len(cases) :]
    return results


def sluice_result(program, path, context, folder):
    command = [program, "render", str(path)]
    for key in ("messages", "tools"):
        if context.get(key) is not None:
            file = pathlib.Path(folder) / f"{key}.json"
            file.write_text(json.dumps(context[key]))
            command += [str(file)] if key == "messages" else ["--tools", str(file)]
    done = subprocess.run(command, capture_output=True)
    if done.returncode != 0:
        return {"error": done.stderr.decode()}
    return {"out": done.stdout.decode()}


def sluice_results(program, folder, sources, cases):
    with tempfile.TemporaryDirectory() as scratch:
        return {
            name: [sluice_result(program, folder / name, c, scratch) for _, c in cases]
            for name in sources
        }


def same(ours, text, ends_free):
    if text is None or "out" not in ours:
        return (text is None) == ("error" in ours)
    out = ours["out"]
    return out == text or (ends_free and out == text + "\n")  # the command may end the line


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--sluice")
    parser.add_argument("--batch")
    parser.add_argument("--show", type=int, default=3, help="differences to print a template")
    arguments = parser.parse_args()
    sources = {p.name: p.read_text() for p in sorted(arguments.folder.glob("*.jinja"))}
    cases = list(template_reference.contexts())
    if arguments.batch:
        results = batch_results(arguments.batch, sources, cases)
    else:
        # The command, like transformers, gives templates `tools` and `documents` that may be none.
        plain = {"messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"}
        cases = [
            (name, {"documents": None, **context})
            for name, context in cases
            if context["add_generation_prompt"] and set(context) <= plain and "tools" in context
        ]
        results = sluice_results(arguments.sluice, arguments.folder, sources, cases)
    now = datetime.datetime.now() if arguments.sluice else template_reference.NOW
    identical = num_cases = num_texts = num_same = 0
    for name, source in sources.items():
        differences = []
        for (case, context), ours in zip(cases, results[name]):
            text, error = template_reference.render(source, context, now)
            num_cases += 1
            num_texts += text is not None
            if same(ours, text, arguments.sluice):
                num_same += 1
            else:
                differences.append((case, ours, text, error))
        identical += not differences
        if differences:
            print(f"{name}: {len(differences)} of {len(cases)} cases differ")
        for case, ours, text, error in differences[: arguments.show]:
            print(f"  {case}\n    ours:   {str(ours)[:600]!r}\n    python: {(text or error)[:600]!r}")
    print(f"{identical} of {len(sources)} templates identical; {num_same} of {num_cases} cases,")
    print(f"of which Python renders {num_texts} and refuses {num_cases - num_texts}")
    sys.exit(identical != len(sources))


main()
