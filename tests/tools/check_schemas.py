"""Checks structured output against JSON Schema's own test suite and the jsonschema package.

  check_schemas.py BENCH_GRAMMAR SUITE

SUITE: the folder json/tests of the source package of jsonschema (PyPI), which holds the suite. For
every schema of the suite: is it honoured or refused by name; are texts that follow its masks valid,
and are the suite's invalid instances refused. Prints how many; fails when anything is wrong.
"""
import json
import pathlib
import subprocess
import sys

import jsonschema

DRAFTS = {
    "draft2020-12": jsonschema.Draft202012Validator,
    "draft2019-09": jsonschema.Draft201909Validator,
    "draft7": jsonschema.Draft7Validator,
    "draft6": jsonschema.Draft6Validator,
    "draft4": jsonschema.Draft4Validator,
}
WALKS = 25


def cases(suite):
    for draft, validator in DRAFTS.items():
        for path in sorted((suite / draft).rglob("*.json")):
            is_format = path.parent.name == "format" or path.stem in ("format", "format-assertion")
            for group in json.loads(path.read_text()):
                yield f"{draft}/{path.stem}: {group['description']}", validator, is_format, group


def ask(program, lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([program, "--walk"], input=text, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def main():
    program, suite = sys.argv[1], pathlib.Path(sys.argv[2])
    known = list(cases(suite))
    replies = ask(program, [
        {"schema": group["schema"], "instances": [test["data"] for test in group["tests"]],
         "walks": WALKS} for _, _, _, group in known])
    honoured, refused, wrong = 0, {}, []
    num_texts, num_valid, num_taken = 0, 0, 0
    for (name, validator, is_format, group), reply in zip(known, replies):
        if "error" in reply:
            refused.setdefault(reply["error"], []).append(name)
            continue
        honoured += 1
        for test, taken in zip(group["tests"], reply["accepts"]):
            if taken and not test["valid"]:
                wrong.append(f"{name}: takes {json.dumps(test['data'])}, {test['description']}")
            num_valid += test["valid"]
            num_taken += test["valid"] and taken
        checker = validator.FORMAT_CHECKER if is_format else None
        check = validator(group["schema"], format_checker=checker)
        for text in reply["texts"]:
            num_texts += 1
            try:
                errors = [error.message for error in check.iter_errors(json.loads(text))]
            except Exception as failure:  # what the reference cannot read either
                if "Unresolvable" in type(failure).__name__ or "ref" in str(failure).lower():
                    continue
                errors = [repr(failure)]
            if errors:
                wrong.append(f"{name}: writes {text}, {errors[0][:200]}")
    print(f"{len(known)} schemas: {honoured} honoured, {len(known) - honoured} refused by name, "
          f"{len(wrong)} wrong; {num_texts} texts written; "
          f"{num_taken} of {num_valid} valid instances are within what can be written")
    if "-v" in sys.argv:
        for message, names in sorted(refused.items(), key=lambda item: -len(item[1])):
            print(f"  {len(names):4} {message[:150]}   e.g. {names[0]}")
    for line in wrong[:40]:
        print("WRONG", line)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
