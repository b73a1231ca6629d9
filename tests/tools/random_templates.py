"""Random small templates over the names of template_snippets.CONTEXT, and their comparison:

    python3 tests/tools/random_templates.py PROGRAM [SEED [COUNT]]

PROGRAM reads lines of {"template", "context", "now"} and answers {"out"} or {"error"}. What cannot be
the same is left out: addresses in printed objects, and integers beyond 64 bits.
"""

import json
import random
import subprocess
import sys
import warnings

import template_reference
import template_snippets

NAMES = list(template_snippets.CONTEXT) + ["missing", "x", "y", "ns", "loop", "m"]
FILTERS = """upper lower title trim length first last list sort unique|list reverse|list join
    items|list string int float abs round tojson capitalize sum min max dictsort default('q')
    d(1,true) replace('a','b') join(',') map('string')|list map(attribute='name')|list select|list
    reject|list selectattr('age')|list indent(2) safe tojson(indent=2) list|length""".split()
TESTS = """defined undefined none string number mapping iterable sequence odd even true false
    boolean integer float lower upper callable divisibleby(2) eq(1) in(l) gt(2)
    sameas(none)""".split()
METHODS = """upper() strip() split() split(',') items() keys()|list get('a') values()|list title()
    replace('l','L') find('o') count('a') startswith('H') join(words) lower() splitlines()
    rstrip('d') format(1,2) index(1) zfill(6) partition('_') capitalize() isalpha()""".split()
ATOMS = ["'a'", "'%s-%s'", "'{} {}'", "''", "'Hello'", "'é🚀'", "\"it's\"", "'1.5'", "' x '", "'<b>'",
         "1.5", "0.1", "2e3", "true", "false", "none", "[]", "{}", "()"]  # fmt: skip
OPERATORS = """+ - * / // % ~ and or == != < > <= >= in not_in ~ +""".split()
OBJECTS = {"x, y": ["d.items()", "keys|dictsort", "[(1,2),(3,4)]"]}


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def one(self, *choices):
        return self.random.choice(choices)

    def expression(self, depth):
        choice, pick = self.random.random(), self.random.choice
        if depth <= 0 or choice < 0.22:
            return self.one(pick(NAMES), pick(NAMES), str(self.random.randint(-3, 12)), pick(ATOMS))

        def inner():
            return self.expression(depth - 1)

        if choice < 0.36:
            return f"{inner()} {pick(OPERATORS).replace('_', ' ')} {inner()}"
        if choice < 0.42:
            return f"({inner()})"
        if choice < 0.53:
            return f"{inner()}|{pick(FILTERS)}"
        if choice < 0.58:
            return f"{inner()} is {self.one('', 'not ')}{pick(TESTS)}"
        if choice < 0.66:
            return f"{pick(NAMES)}.{pick(METHODS)}"
        if choice < 0.72:
            return f"{inner()}[{inner()}]"
        if choice < 0.78:
            start, stop = self.one("", "1", "-2", "n", "z"), self.one("", "2", "-1", "f")
            return f"{pick(NAMES)}[{start}:{stop}{self.one('', ':-1', ':2')}]"
        if choice < 0.82:
            member = self.one("a", "b", "name", "age", "items", "x", "c", "index", "first")
            return f"{pick(NAMES)}.{member}"
        if choice < 0.86:
            return f"{inner()} if {inner()}" + (f" else {inner()}" if self.random.random() < 0.7 else "")
        if choice < 0.91:
            items = ", ".join(inner() for _ in range(self.random.randint(0, 3)))
            return self.one(f"[{items}]", f"({items})")
        if choice < 0.93:
            pairs = (f"{inner()}: {inner()}" for _ in range(self.random.randint(0, 2)))
            return "{" + ", ".join(pairs) + "}"
        if choice < 0.95:
            return self.one("not ", "-") + inner()
        if choice < 0.97:
            return f"dict(a={inner()}, b={inner()})"
        return self.one(f"m({inner()})", f"range({inner()})|list")

    def space(self):
        return self.one("", "", " ", "\n", "\n  ", "x", "  \n")

    def tag(self, text):
        return "{%" + self.one("", "", "-", "+") + f" {text} " + self.one("", "", "-", "+") + "%}"

    def body(self, depth):
        statements = (self.space() + self.statement(depth) for _ in range(self.random.randint(1, 3)))
        return "".join(statements) + self.space()

    def loop(self, depth):
        target = self.one("x", "y", "x, y", "n", "l")
        sources = ["l", "words", "users", "d", self.expression(1), "nested", "range(3)", "l|map('string')"]
        source = self.one(*OBJECTS.get(target, sources))
        test = f" if {self.expression(1)}" if self.random.random() < 0.2 else ""
        text = self.tag(f"for {target} in {source}{test}")
        if self.random.random() < 0.4:
            text += "{{ loop.index }}{{ loop.last }}"
        text += self.body(depth)
        if self.random.random() < 0.3:
            text += self.tag(f"if {self.expression(1)}") + self.tag(self.one("break", "continue"))
            text += self.tag("endif") + self.body(depth)
        if self.random.random() < 0.2:
            text += self.tag("else") + self.body(depth)
        return text + self.tag("endfor")

    def branch(self, depth):
        text = self.tag(f"if {self.expression(2)}") + self.body(depth)
        if self.random.random() < 0.3:
            text += self.tag(f"elif {self.expression(1)}") + self.body(depth)
        if self.random.random() < 0.5:
            text += self.tag("else") + self.body(depth)
        return text + self.tag("endif")

    def statement(self, depth):
        choice = self.random.random()
        if depth <= 0 or choice < 0.35:
            expression = self.expression(self.random.randint(0, 3))
            return "{{" + self.one("", "-") + f" {expression} " + self.one("", "-") + "}}"
        depth -= 1
        if choice < 0.5:
            return self.branch(depth)
        if choice < 0.68:
            return self.loop(depth)
        if choice < 0.78:
            return self.tag(f"set {self.one('x', 'y', 'n', 'x, y', 'ns.a')} = {self.expression(2)}")
        if choice < 0.81:
            return self.tag(f"set ns = namespace(a={self.expression(1)})")
        if choice < 0.98:
            opening, end = self.one(
                (f"set {self.one('x', 'y')}{self.one('', ' | upper', ' | trim')}", "endset"),
                (f"macro m({self.one('x', 'x, y=1', 'x=n', '', 'x, y=x')})", "endmacro"),
                (f"call m({self.expression(1)})", "endcall"),
                (f"with x = {self.expression(1)}", "endwith"),
                (f"filter {self.one('upper', 'trim', 'indent(2)')}", "endfilter"),
                ("generation", "endgeneration"),
            )
            return self.tag(opening) + self.body(depth) + self.tag(end)
        return "{#" + self.one("", "-", "+") + " c " + self.one("", "-", "+") + "#}"

    def template(self):
        if self.random.random() < 0.5:
            return "{{ " + self.expression(self.random.randint(1, 5)) + " }}"
        return self.body(3)


def is_comparable(text):
    return text is None or not (" at 0x" in text or "%20at%200x" in text or "<class" in text)


def main():
    program, seed, count = (sys.argv + ["1", "2000"])[1:4]
    generator = Generator(int(seed))
    templates = [generator.template() for _ in range(int(count))]
    context = template_snippets.CONTEXT
    lines = [json.dumps({"template": t, "context": context, "now": True}) for t in templates]
    done = subprocess.run([program], input="\n".join(lines) + "\n", capture_output=True, text=True)
    answers = [json.loads(line) for line in done.stdout.split("\n") if line]
    differences = rendered = 0
    for template, ours in zip(templates, answers):
        text, error = template_reference.render(template, context)
        rendered += text is not None
        agree = "error" in ours if text is None else ours.get("out") == text
        if agree or not is_comparable(text) or "64 bit" in ours.get("error", ""):
            continue
        differences += 1
        print(f"{template!r}\n  ours:   {str(ours)[:500]}\n  python: {(text or error)[:500]!r}")
    print(f"{len(answers)} of {count} templates answered, {rendered} rendered by Python, "
          f"{differences} differ")  # fmt: skip
    sys.exit(differences != 0 or len(answers) != int(count))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
