"""Small templates, ours, that cover the language: one expression or template a line. `EXPRESSIONS`
are printed, `TEMPLATES` rendered as they are; all see CONTEXT."""

CONTEXT = {
    "n": 7, "z": 0, "neg": -7, "f": 2.5, "big": 9007199254740993, "t": True, "no": False, "none_value": None,
    "s": "Hello, World", "e": "", "u": "Grüße ß 世界 🚀 ǆ İ ΑΣ", "ws": "  a  b\tc\n ", "q": "it's \"quoted\" \\ \n",
    "lines": "one\ntwo\r\nthree\n\nfour\u2028five", "html": "<b>&'\"</b>", "csv": "a,b,,c,", "num": "42", "fnum": " 3.50 ",
    "l": [3, 1, 2], "words": ["banana", "Apple", "cherry", "apple"], "mixed": [1, "a", None, True, 2.0, [1], {"k": "v"}],
    "nested": [[1, 2], [3, [4, 5]]], "nums": [1, 2.5, -3, True], "empty": [], "d": {"a": 1, "b": [2, 3], "c": {"x": "y"}},
    "ed": {}, "keys": {"items": 1, "get": 2, "update": 3, "_x": 4, "b": 5, "B": 6, "a": 7},
    "users": [
        {"name": "Bob", "age": 30, "city": "Rome", "tags": ["x", "y"], "address": {"zip": 1}},
        {"name": "alice", "age": 25, "city": "rome", "tags": [], "address": {"zip": 3}},
        {"name": "Carol", "age": 30, "city": "Oslo", "admin": True, "tags": ["z"], "address": {"zip": 2}},
    ],
    "tree": [{"v": 1, "c": [{"v": 2, "c": [{"v": 3, "c": []}]}, {"v": 4, "c": []}]}, {"v": 5, "c": []}],
    "esc": "tab\t nl\n nul\x00 bell\x07 del\x7f nbsp\xa0 zwsp\u200b ls\u2028 q\" bs\\ slash/ \U0001f600",
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4
(1 + 2) * 3
2 ** 3 ** 2
-2 ** 2
-n ** 2
2 ** -1
7 // 2
-7 // 2
7 // -2
7 % 3
-7 % 3
7 % -3
7.5 // 2
-7.5 % 2
7.5 % -2
1 / 2
4 / 2
1 / 3
10 / 4 * 2
1 / 0
1 // 0
1 % 0
1.0 / 0
0 ** 0
0.0 ** -1
2 ** 0.5
(-8) ** (1/3)
1e300 * 1e10
-1e300 * 1e10
1e16
1e15
123456789012345678
1e-4
1e-5
0.1 + 0.2
1.0
100000000000000000.0
1.5e3
1_000_000
0x1F + 0o17 + 0b101
1e3
1.e3
.5
5.
3.14.foo
n.bit_length()
f.is_integer()
2.0.is_integer()
true + true
true and 'x'
false or none
none or 0
'' or [] or {} or 'last'
1 and 2 and 3
not 1
not not 1
not ''
not n == 7
1 < 2 < 3
1 < 2 > 3
3 > 2 > 1
1 == 1.0
1 == true
'1' == 1
[1, 2] == [1, 2]
[1, 2] == (1, 2)
{'a': 1} == {'a': 1.0}
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
none == none
none == false
[1, 2] < [1, 3]
[1] < [1, 0]
'a' < 'b'
'a' < 1
none < 1
[1] < (2,)
{} < {}
1 in l
'ell' in s
'' in s
5 not in l
'a' in d
'x' in d
1 in 'abc'
none in l
[1] in mixed
[1] in d
1 in 5
1 in none
'a' in missing
missing in l
missing in 'abc'
'a' if n > 5 else 'b'
'a' if n > 50
('a' if n > 50) is defined
'a' if false else 'b' if false else 'c'
'x' if none_value is none else 'y'
'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1, 'b']
'a' ~ missing ~ 'b'
1 ~ 2 + 3
1 + 2 ~ 3
'a' + 'b' ~ 'c' + 'd'
'a' * 3
3 * 'ab'
'a' * -1
[1, 2] * 2
[1] + [2]
(1,) + (2,)
[1] + (2,)
'a' + 1
1 + 'a'
none + 1
missing + 1
1 + missing
-missing
-'a'
+'a'
-true
+true
- - 5
+-+5
s[0]
s[-1]
s[100]
s[-100]
s['upper']
s['0']
s[1.0]
s[true]
l[0]
l[-1]
l[3]
l['0']
l[none]
l.0
l.1
nested[1][1][0]
nested.1.1.0
d.a
d['a']
d.b.0
d.missing
d.missing.x
d['missing']['x']
d.c.x
d[['a']]
d[1]
d.items
keys.items
keys['items']
keys.get
keys['get']
keys['update']
keys._x
keys.b
s[1:3]
s[:3]
s[3:]
s[:]
s[::2]
s[::-1]
s[5:1:-1]
s[-3:]
s[:-3]
s[100:]
s[::0]
s[1:2:3]
u[3:8]
u[::-1]
u[-4]
l[1:]
l[::-1]
l[5:]
l[:-1]
l['a':]
(1, 2, 3)[1:]
d[1:]
n[1:]
missing[1:]
missing[0]
missing.x
missing.x.y
missing()
none.x
none['x']
none()
n.x
n.x.y
n()
'abc'.foo
'abc'.__class__
d.__class__
d.__class__.x
d['__class__']
s.__len__
missing
missing|length
missing|list
missing is defined
missing is undefined
missing == missing2
missing == none
missing != none
not missing
missing or 'x'
[missing]
{'a': missing}
missing ~ ''
missing|string
missing|upper
missing|trim
missing|default('d')
missing|d
none|default('d')
none|default('d', true)
''|default('d')
''|default('d', true)
''|default(default_value='d', boolean=true)
0|d('zero', true)
missing.x|default('d')
d.missing|default('d')
d.missing.x|default('d')
missing|int
missing|float
missing|abs
missing|first
missing|last
missing|join
missing|tojson
missing|items|list
missing|map('upper')|list
missing|reverse|list
missing|sort
missing|sum
missing|min
missing|replace('a', 'b')
missing|indent
missing|truncate
missing|wordcount
missing|round
missing|dictsort
missing|unique|list
[]
[1]
[1,]
[,]
()
(1)
(1,)
(1, 2)
1, 2
{}
{'a': 1, 2: 'b', none: true, 1.5: [1], (1, 2): 3}
{'a': 1, 'a': 2}
{1: 'a', 1.0: 'b', true: 'c'}
{[1]: 2}
{'a': {'b': ['c', ("d", 'e')]}}
[true, false, none, 1, 1.0, 'x', "it's", '"', 'a"b\'c']
True
none
None
mixed
d
nested
q
[q]
[esc]
[u]
esc|length
u|length
"a\nb\tc\\d\'e\"f"
["a\x41\u00e9\U0001F600\101\q\é"]
'a' 'b' "c"
"\x4"
"\u12"
"unterminated
s.upper()
s.lower()
u.upper()
u.lower()
u.title()
u.capitalize()
u.swapcase()
u.casefold()
'ǆ'.title()
"they're bill's".title()
s.upper().lower().title()
ws.strip()
ws.lstrip()
ws.rstrip()
ws.strip(' ')
'xxaxx'.strip('x')
'xyaxy'.lstrip('yx')
'äöaöä'.strip('öä')
ws.strip(none)
'a'.strip(1)
s.split()
ws.split()
csv.split(',')
csv.split(',', 1)
csv.split(',', maxsplit=2)
csv.split(sep=',')
csv.rsplit(',', 1)
csv.rsplit(',', 2)
ws.split(none, 1)
ws.rsplit(none, 1)
' a b '.split(none, 0)
' a b '.rsplit(none, 0)
csv.split('')
''.split()
''.split(',')
'abc'.split('abc')
lines.splitlines()
lines.splitlines(true)
lines.splitlines(keepends=True)
'a\x0bb\x0cc\x1cd\x85e'.splitlines()
''.splitlines()
s.startswith('Hell')
s.startswith(('x', 'H'))
s.startswith('ello', 1)
s.startswith('')
s.startswith('', 100)
s.startswith(1)
s.startswith(['H'])
s.endswith('ld')
s.endswith(('x', 'd'))
s.endswith('Wor', 0, -2)
s.find('o')
s.find('o', 5)
s.find('o', none, 5)
s.startswith('lo', 3, none)
csv.split(',', none)
s.find('xyz')
s.find('', 12)
s.find('', 13)
u.find('世')
u.rfind('ß')
s.rfind('o')
s.rfind('o', 0, 7)
s.index('o')
s.index('xyz')
s.rindex('o')
s.count('o')
s.count('')
'aaaa'.count('aa')
s.count('o', 5, 9)
s.replace('o', '0')
s.replace('o', '0', 1)
s.replace('', '-')
s.replace('', '-', 3)
''.replace('', 'x')
s.replace('xyz', 'a')
'aaa'.replace('aa', 'b')
s.replace('o', 1)
s.replace('o')
','.join(['a', 'b'])
', '.join(words)
','.join([1])
','.join('abc')
','.join(d)
''.join([])
'é'.center(7, '*')
'ab'.center(7)
'ab'.center(6, '-')
'abc'.center(6, '-')
'abc'.ljust(6) ~ '|'
'abc'.rjust(6, 'é')
'abc'.ljust(2)
'abc'.ljust(5, 'xy')
'42'.zfill(5)
'-42'.zfill(6)
'+42'.zfill(3)
'abc'.zfill(2)
'a\tb\tcd'.expandtabs(4)
'a\tb'.expandtabs()
'a,b,c'.partition(',')
'a,b,c'.rpartition(',')
'abc'.partition(',')
'abc'.rpartition(',')
'abc'.partition('')
'prefix-x'.removeprefix('prefix-')
'x.txt'.removesuffix('.txt')
'x'.removesuffix('')
'abc'.isalpha()
'ab1'.isalnum()
''.isalpha()
'１²'.isdecimal()
'½'.isnumeric()
'abc'.islower()
'ABC'.isupper()
'Abc Def'.istitle()
'Abc def'.istitle()
' \t'.isspace()
''.isspace()
'abc'.isascii()
'é'.isascii()
'a_1'.isidentifier()
'1a'.isidentifier()
'a\n'.isprintable()
'12'.isdigit()
'ab'.encode()
'ab'.nothing()
d.get('a')
d.get('q')
d.get('q', 5)
d.get('q', none)
d.get()
d.get([1])
d.get(missing, 'x')
d.keys()|list
d.values()|list
d.items()|list
d.keys()|length
'a' in d.keys()
1 in d.values()
('a', 1) in d.items()
d.copy()
d.pop('a')
d.update({'z': 1})
d.setdefault('z', 1)
d.clear()
d.popitem()
d.fromkeys(['x', 'y'], 0)
l.append(4)
l.pop()
l.sort()
l.index(1)
l.index(9)
l.count(1)
l.copy()
l.extend([1])
(1, 2, 1).count(1)
(1, 2).index(2)
(1, 2).append(3)
range(5)|list
range(1, 5)|list
range(5, 1, -2)|list
range(0, 10, 3)|list
range(3)[1]
range(10)[2:5]|list
range(0, 3)|length
range(100001)
range(10**9)
range(1, 2, 0)
range('a')
range(none)
range(1, 5, none)
range(1.5)
2 in range(3)
range(3) == range(0, 3)
dict(a=1, b=2)
dict({'x': 1}, y=2)
dict([('a', 1), ['b', 2]])
dict(d, a=9)
dict([1])
dict(1, 2)
dict.fromkeys(['a'], 1)
namespace(a=1)
namespace({'a': 1}, b=2).b
namespace(a=1).q
namespace(_a=1)
namespace(a=1)['a']
namespace(a=1) is mapping
cycler('a', 'b').next()
cycler()
joiner()() ~ 'x'
lipsum()
raise_exception('no good')
raise_exception()
strftime_now('%Y-%m-%d %H:%M:%S')
strftime_now('%d %b %Y, %A %-d %j %p %f|%z|%Z|%%')
strftime_now('')
strftime_now(1)
n is odd
n is even
n is divisibleby 7
n is divisibleby(2)
s is string
n is string
n is number
t is number
s is number
n is integer
t is integer
f is integer
f is float
n is float
t is boolean
n is boolean
t is true
1 is true
no is false
0 is false
none_value is none
n is none
d is mapping
l is mapping
l is iterable
s is iterable
n is iterable
d is iterable
l is sequence
s is sequence
d is sequence
n is sequence
range(2) is sequence
d.items() is iterable
(l|map('int')) is sequence
(l|map('int')) is iterable
missing is iterable
missing is sequence
missing is callable
missing is string
range is callable
s.upper is callable
n is callable
n is sameas n
n is sameas 7
t is sameas true
1 is sameas true
none is sameas none
l is sameas l
[] is sameas []
n is eq 7
n is equalto(7)
n is ne 8
n is gt 5
n is ge 7
n is lt 5
n is le 7
n is greaterthan 6
n is lessthan 6
n is in [7, 8]
n is in(7, 8)
n is not in [8]
'a' is in 'abc'
s is lower
'abc' is lower
'ABC' is upper
'A1' is upper
'1' is upper
5 is lower
'upper' is filter
'nope' is filter
'odd' is test
'nope' is test
s|safe is escaped
s is escaped
n is not odd
n is not none and t
not n is odd
n is defined and n is odd
n is odd is even
n is nope
s is odd
none is odd
2.0 is even
n is divisibleby 0
missing is odd
missing is none
missing is defined or n
n is odd and n is number
n is eq 3 or t
n is eq(7) if t else 0
l is eq [3, 1, 2]
d.a is defined
d.zz is defined
d.zz.q is defined
s|upper
s|lower
n|upper
none|upper
u|upper
u|capitalize
'hello wORLD foo-bar (baz) [qux] {a} <b> it\'s'|title
'grüße ß 世界 ǆ İ'|title
12|title
ws|trim
'xxaxx'|trim('x')
n|trim
s|replace('o', '0')
s|replace('o', '0', 1)
s|replace('o', '0', none)
s|round(none)
n|replace(7, 8)
s|replace('l', none)
s|length
l|length
d|length
n|length
none|length
s|count
(l|map('abs'))|length
l|first
l|last
e|first
empty|first
empty|last
s|first
s|last
d|first
d|last
n|first
(l|map('abs'))|first
(l|map('abs'))|last
range(4)|last
l|join
l|join(', ')
words|join(', ')
users|join(', ', attribute='name')
users|join('-', 'age')
n|join
'abc'|join('-')
d|join(',')
mixed|join('|')
l|join(1)
l|list
s|list
d|list
u|list
n|list
l|sort
l|sort(reverse=true)
words|sort
words|sort(case_sensitive=true)
words|sort(true, true)
users|sort(attribute='age')|map(attribute='name')|list
users|sort(attribute='age,name')|map(attribute='name')|list
users|sort(attribute='name', reverse=true)|map(attribute='name')|list
users|sort(attribute='address.zip')|map(attribute='name')|list
mixed|sort
d|sort
s|sort
[none, none]|sort
[1, none]|sort
nums|sort
l|reverse|list
s|reverse
l|reverse
d|reverse|list
(l|map('abs'))|reverse
n|reverse
l|unique|list
words|unique|list
words|unique(case_sensitive=true)|list
users|unique(attribute='age')|map(attribute='name')|list
mixed|unique|list
[1, 1.0, true, '1']|unique|list
l|sum
nums|sum
users|sum(attribute='age')
users|sum('age', 10)
[[1], [2]]|sum(start=[])
['a']|sum
[]|sum
l|min
l|max
words|min
words|max
words|max(case_sensitive=true)
users|max(attribute='age')
users|min(attribute='name')
empty|min
mixed|max
[1, 1.0]|max
d|max
d|items|list
d|items
l|items|list
d|dictsort
keys|dictsort
keys|dictsort(true)
keys|dictsort(false, 'value')
keys|dictsort(by='value', reverse=true)
keys|dictsort(by='x')
l|dictsort
{'a': 1, 2: 3}|dictsort
d|dictsort(by='value')
l|batch(2)|list
l|batch(2, 'x')|list
l|batch(5, 0)|list
l|batch(0)|list
range(10)|slice(3)|list
range(10)|slice(3, 'x')|list
range(2)|slice(4, 0)|list
l|slice(0)|list
users|groupby('age')
users|groupby('city')|map('first')|list
users|groupby('city', case_sensitive=true)|map(attribute='grouper')|list
users|groupby('admin', default=false)|map(attribute=0)|list
(users|groupby('city')|first).list|map(attribute='name')|list
(users|groupby('city')|first).grouper
users|map(attribute='name')|list
users|map(attribute='nope')|list
users|map(attribute='nope', default='-')|list
users|map(attribute='tags.0')|list
users|map(attribute='tags.0', default='none')|list
users|map(attribute='address.zip')|join(',')
words|map('upper')|list
words|map('replace', 'a', '4')|join(' ')
words|map('nope')|list
words|map()|list
empty|map()|list
words|map('upper')
nested|map('first')|list
nested|map(attribute=1)|list
[1, 2]|map('string')|list
l|map('default', 5)|list
words|map(attribute='upper')|list|length
l|select('odd')|list
l|select|list
[0, 1, '', 'a', none]|select|list
[0, 1, '', 'a', none]|reject|list
l|select('gt', 1)|list
l|select('in', [1, 2])|list
l|reject('odd')|list
l|reject('divisibleby', 2)|list
l|select('nope')|list
users|selectattr('admin')|map(attribute='name')|list
users|rejectattr('admin')|map(attribute='name')|list
users|selectattr('age', 'equalto', 30)|map(attribute='name')|list
users|selectattr('age', '>', 26)|map(attribute='name')|list
users|selectattr('admin', 'defined')|list|length
users|rejectattr('address.zip', 'le', 2)|map(attribute='name')|list
users|selectattr()|list
users|selectattr('name', 'in', ['Bob'])|first
empty|selectattr('a')|list
n|select|list
0|select|list
(l|select('odd')) is defined
(l|select('gt', 100)) and 'true'
(l|select('gt', 100)|list) or 'none'
num|int
'x'|int
'x'|int(5)
'x'|int(default=none)
fnum|int
'42.9'|int
'-42.9'|int
'1e3'|int
'0x1f'|int(base=16)
'0x1f'|int(0, 16)
'1f'|int(0, 16)
'0b11'|int(0, 2)
'12'|int(0, 3)
'1__0'|int
' 12 '|int
'+5'|int
'--5'|int
f|int
-2.7|int
t|int
none|int
none|int(3)
l|int(9)
'99999999999999999999'|int
1e30|int
'inf'|int(7)
'nan'|float
num|float
fnum|float
'x'|float
'x'|float(1.5)
'1e400'|float
'-inf'|float
'.5'|float
'5.'|float
'0x10'|float
n|float
none|float
t|float
-5|abs
neg|abs
-2.5|abs
'a'|abs
true|abs
2.5|round
3.5|round
-2.5|round
42.55|round(1)
2.675|round(2)
1234.5678|round(-2)
15|round
15|round(-1)
25|round(-1)
-15|round(-1)
42.55|round(1, 'floor')
42.51|round(1, 'ceil')
42.1|round(method='ceil')
42|round(0, 'floor')
42.5|round(0, 'nope')
'a'|round
true|round
1e300|round(2)
0.5|round
1.5|round|int
n|string
n|string is string
[1, 'a']|string
none|string
t|string
f|string
html|e
html|escape
html|e|e
html|safe|e
html|forceescape
html|e|forceescape
(html|e)|upper
(html|safe) ~ html
(html|safe) + html
html + (html|safe)
(html|safe) * 2
(html|safe) + 1
('<%s>' | safe).format(html)
[html, html|safe]|join('<')
html|safe == html
(html|safe)|length
('a' ~ 'b')|safe + 'c<'
42|safe
'<p>Hi  <b>there</b><!-- c --> &amp; &lt;x&gt; </p>'|striptags
'%s is %d' % ('a', 5)
'%s' % 'a'
'%s' % none
'%s %s' % ('a',)
'%s' % ('a', 'b')
'%d' % 3.7
'%d' % 'a'
'%5d|%-5d|%05d|%+d|% d' % (42, 42, 42, 42, 42)
'%x %X %#x %o %#o' % (255, 255, 255, 8, 8)
'%.2f %e %g %G' % (3.14159, 31415.9, 0.00001, 1e20)
'%8.3f|%-8.3f|%08.3f|%+.1f' % (3.14159, 3.14159, 3.14159, 3.14159)
'%s %r %a' % ('é', 'é', 'é')
'%.2s|%5s|%-5s|' % ('abc', 'abc', 'abc')
'%c%c' % ('a', 98)
'%%' % ()
'100%' % ()
'%(a)s %(b)s' % d
'%(q)s' % d
'%(a)d' % 5
'%*d' % (5, 42)
'%-*d|' % (5, 42)
'%.*f' % (2, 3.14159)
'%s' % [1, 2]
'%s' % l
'a' % 1
'a' % []
'a' % {}
'a' % ()
'%y' % 1
'%s' % missing
'%5.1f%%' % 99.55
'%i %u' % (1, 2)
'%05s' % 'a'
'%+5d' % -3
'%#.3g' % 1.0
'%s, %s!'|format('a', 'b')
'%(x)s'|format(x=1)
'{} {}'.format(1, 'a')
'{0} {1} {0}'.format('a', 'b')
'{a} {b}'.format(a=1, b=2)
'{a[x]} {b.c}'.format(a={'x': 1}, b={'c': 2})
'{0[1]}'.format([1, 2])
'{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd')
'{:5}|{:5}'.format('a', 1)
'{:05d} {:+d} {:x} {:#x} {:b} {:o} {:X}'.format(42, 42, 255, 255, 5, 8, 255)
'{:,} {:_}'.format(1234567, 1234567)
'{:,.2f}'.format(1234567.891)
'{:010,.1f}|{:012,d}'.format(1234.5, 1234567)
'{:.2f} {:.0f} {:e} {:g} {:%}'.format(3.14159, 2.5, 12345.678, 0.0001, 0.25)
'{:.3} {:10.3}|'.format('abcdef', 'abcdef')
'{:.3} {:.1} {:.5}'.format(3.14159, 2.0, 1e10)
'{!r} {!s} {!a}'.format('é', 'é', 'é')
'{!r:>5}'.format('a')
'{:{}}|{:{w}}'.format('a', 5, 'b', w=3)
'{{}} {}'.format(1)
'{'.format()
'}'.format()
'{} {}'.format(1)
'{x}'.format()
'{:d}'.format('a')
'{:s}'.format(1)
'{:5}'.format([1])
'{}'.format([1, 'a'])
'{}'.format(none)
'{:>5}'.format(none)
'{:>6}'.format(true)
'{:=+6d}'.format(5)
'{:c}'.format(65)
'{.upper}'.format('a')
'{0.__class__}'.format('a')
'{a}'.format_map({'a': 1})
'{:é>4}'.format('a')
s|center(20) ~ '|'
'ab'|center(5)
s|wordcount
u|wordcount
'a-b c_d 1'|wordcount
'a long text that needs a cut somewhere'|truncate(20)
'a long text that needs a cut somewhere'|truncate(20, true)
'a long text that needs a cut somewhere'|truncate(20, false, '…', 0)
'short'|truncate(3)
'abcdefghijkl'|truncate(5)
'abcdefghijkl'|truncate(2)
lines|indent
lines|indent(2)
lines|indent(2, true)
lines|indent(2, first=true, blank=true)
lines|indent('> ')
lines|indent(width='--', blank=true)
''|indent
'a'|indent(first=true)
n|indent
'a b/c?d=é&f'|urlencode
{'a b': 1, 'c/d': 'é'}|urlencode
[('a', 1)]|urlencode
n|urlencode
{'class': 'a b', 'id': none, 'x': '<'}|xmlattr
{'a b': 1}|xmlattr
{}|xmlattr
{'a': 1}|xmlattr(false)
1000|filesizeformat
1|filesizeformat
999|filesizeformat
1234567|filesizeformat
1234567|filesizeformat(true)
'5000'|filesizeformat
d|pprint
words|pprint
users|pprint
'x'|pprint
d|attr('a')
d|attr('items')|string is string
s|attr('upper')
s|attr('nope')
d|tojson
mixed|tojson
users|tojson
users|tojson(indent=2)
users|tojson(indent=4)
d|tojson(indent=0)
d|tojson(indent='\t')
d|tojson(indent=none)
d|tojson(separators=(',', ':'))
d|tojson(separators=(', ', ' : '), indent=2)
keys|tojson(sort_keys=true)
{'b': {'z': 1, 'a': 2}, 'a': 0}|tojson(sort_keys=true, indent=1)
{1: 2, none: 3, true: 4, 1.5: 5}|tojson
{(1, 2): 3}|tojson
{1: 2, 'a': 3}|tojson(sort_keys=true)
u|tojson
u|tojson(true)
u|tojson(ensure_ascii=true)
esc|tojson
esc|tojson(ensure_ascii=true)
html|tojson
[]|tojson(indent=2)
{}|tojson(indent=2)
[[], {}, [[]]]|tojson(indent=2)
(1, 2)|tojson
1e100|tojson
1.0|tojson
1e-7|tojson
(1e300 * 1e10)|tojson
(l|map('abs'))|tojson
namespace(a=1)|tojson
none|tojson
true|tojson
(html|safe)|tojson
'a'|tojson|tojson
d|tojson|length
l|random
s|wordwrap
s|nope
s|nope('x')
s|upper('x')
s|join(1, 2, 3)
s|replace()
s|default(1, 2, 3)
s|default(foo=1)
l|map('upper', foo=1)|list
s|upper|lower|title
s|upper ~ s|lower
-1|abs
1 + -1|abs
(-1)|abs
2 ** 2|float
'a' 'b'|upper
[1, 2]|join + 'x'
not s|length == 12
s.split(',')|map('trim')|join('/')
s.split(',')[1].strip()
users[0].name
users[-1]['tags'][0]
users[0]['name'][0:2]
d.items()|map('last')|list
range(3)|map('string')|join
s(1)
s.upper
(s.upper)()
s['upper']()
*l
[*l]
foo(*l)
range(*[1, 4])|list
dict(**{'a': 1, 'b': 2})
dict(**{1: 2})
dict(a=1, **{'a': 2})
dict(**l)
'{} {}'.format(*['a', 'b'])
'{a}'.format(**{'a': 1})
dict(a=1, a=2)
[1, 2
(1, 2
{'a': 1
[1, 2)
}
1 +
1 ++ 2
a b
1 2
@
$x
'a' | 
| upper
x.
x[
x[]
l[1,2]
d[1:2, 3]
a.b.c.d
if
for
not
in
is
x if
1 if
true is true
none is none
loop
loop.index
caller()
varargs
super()
9223372036854775807
9223372036854775807 + 1
-9223372036854775807 - 1
99999999999999999999
2 ** 62
2 ** 63
2 ** 64
10 ** 18 * 10
big
big + 0.0
9007199254740993 == 9007199254740992.0
9007199254740993 > 9007199254740992.0
1e308 * 10 == 1e309
(1e309 - 1e309) == (1e309 - 1e309)
'a' * 1000000000000
[0] * 1000000000000
'%1000000000d' % 1
'{:1000000000}'.format(1)
'é' < 'z'
'Z' < 'a'
'🚀' > '世'
'abc'[1]
'héllo'[1]
""".strip("\n").split("\n")

TEMPLATES = [
    # White space control.
    "a\n{% if t %}\nb\n{% endif %}\nc\n", "a\n  {% if t %}\n  b\n  {% endif %}\nc", "a {% if t %} b {% endif %} c",
    "a\n  {%+ if t %}\n  b\n  {%+ endif %}\nc", "a\n{%- if t -%}\n b \n{%- endif -%}\nc", "{{- s -}}\n x", "x \n {{- s -}} \n y",
    "x\n  {{ s }}\ny", "x {#- c -#} y", "x\n  {# c #}\ny", "x\n  {#+ c #}\ny", "a{# c #}\n\nb", "a\n{# c +#}\nb", "a{% set x = 1 +%}\nb",
    "a{% set x = 1 -%}\n\n  b", "{% if t %}\n\n\nx{% endif %}", "\n\n{% if t %}x{% endif %}\n\n", "a\r\nb\rc\n\r\n{% if t %}\r\nx{% endif %}\r\n", "x\n", "x\n\n", "", "\n", "  {% if t %}  x  {% endif %}  ",
    "a\n\t {% if t %}b{% endif %}", "a \xa0{%- if t %}b{% endif %}", "x{% raw %}\n{{ y }} {% if %}\n{% endraw %}\nz",
    "x {%- raw -%}\n {{ y }} \n{%- endraw -%} \n z", "  {% raw %}  a  {% endraw %}  b", "{%raw%}{{{% endraw%}", "{% raw %}x", "a\n  {%- raw %} b {%+ endraw +%}\nc",
    "{{ '{{' }} {{ '%}' }} {{ \"}}\" }}", "{{ {'a': {'b': 1}}.a.b }}", "{{ {'a': {}} }}", "{# {{ x }} {% if %} #}ok", "{# unclosed", "{{ unclosed", "{% unclosed", "{{ x }", "{{ }}", "{% %}", "{ { x } }", "a { b } c {",
    "{{ '\n' }}", "{{ 'a\r\nb' }}", "{%\nif\nt\n%}x{%\nendif\n%}", "{{\n s\n}}", "x{{ '' }}\n{{ '' }}y\n", "{% set a = '\n' %}[{{ a }}]", "a{%- set b = 2 %}\n   c", "{{ 1 -}}   {{- 2 }}", "{{ 1 }}\n{{ 2 }}\n", "{%- if t %}\n{%- endif %}",
    "  {%- if t %}x{%- endif %}\n  {{ s }}  ", "{#-#}x{#- -#} y", "{% if t -%}   \n x {%- else -%} y {%- endif %}", "x  {%- if t %}  y  {%- endif -%}  z", "{{-s}} {{s-}}", "{{- -1 }} {{ 1 - -1 }}", "{%-set x=1-%} {{x}}", "{{+1}}", "{%+set x=1%}{{x}}", "a\n  {{- s}}", "{{ '-' -}} x", "x{%if t%}y{%endif%}z",
    # If.
    "{% if n == 7 %}a{% elif t %}b{% else %}c{% endif %}", "{% if z %}a{% elif t %}b{% else %}c{% endif %}", "{% if z %}a{% elif no %}b{% else %}c{% endif %}",
    "{% if z %}a{% endif %}", "{% if missing %}a{% else %}b{% endif %}", "{% if missing.x %}a{% endif %}", "{% if t: %}x{% endif %}", "{% if t %}x", "{% endif %}", "{% if %}x{% endif %}", "{% else %}", "{% if t %}{% elif %}{% endif %}",
    "{% if t %}{% set x = 1 %}{% endif %}{{ x }}", "{% if no %}{% set x = 1 %}{% endif %}[{{ x }}]", "{% if no %}{% set n = 1 %}{% endif %}[{{ n }}]", "{% if 1, 2 %}x{% endif %}", "{% if l and d %}y{% endif %}", "{% if no %}{{ s|nope }}{% endif %}ok", "{% if t %}{{ s|nope }}{% endif %}", "{% if no %}{{ s is nope }}{% endif %}ok", "{{ s|nope if no else 'ok' }}",
    # For.
    "{% for x in l %}{{ x }},{% endfor %}", "{% for x in empty %}{{ x }}{% else %}none{% endfor %}", "{% for x in l %}{{ x }}{% else %}none{% endfor %}", "{% for x in missing %}{{ x }}{% else %}none{% endfor %}", "{% for x in n %}{{ x }}{% endfor %}", "{% for x in none_value %}{% endfor %}", "{% for c in u %}[{{ c }}]{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}", "{% for a, b in [(1, 2), [3, 4], 'xy'] %}{{ a }}{{ b }};{% endfor %}", "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}", "{% for a, b in [1] %}{% endfor %}", "{% for (a, b) in [(1, 2)] %}{{ a }}{{ b }}{% endfor %}", "{% for a, in [(1,)] %}{{ a }}{% endfor %}",
    "{% for x in l if x > 1 %}{{ x }}{% else %}none{% endfor %}", "{% for x in l if x > 10 %}{{ x }}{% else %}none{% endfor %}", "{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}{{ loop.last }};{% endfor %}", "{% for a, b in d.items() if b != 1 %}{{ a }}{% endfor %}", "{% for x in l if loop.index %}{% endfor %}",
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}", "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}", "{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }};{% endfor %}", "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in l %}{{ loop.cycle() }}{% endfor %}", "{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }};{% endfor %}", "{% for x in l %}{{ loop }};{% endfor %}", "{% for x in l %}{{ loop.nope }}{{ loop._iterator }};{% endfor %}", "{{ loop }}",
    "{% for x in l|map('string') %}{{ loop.length }}{{ loop.index }}{{ x }};{% endfor %}", "{% for x in l|map('string') %}{{ loop.last }}{{ loop.nextitem }};{% endfor %}", "{% for x in l|select('gt', 1) %}{{ loop.revindex }}{{ x }};{% endfor %}", "{% for x in range(3) %}{% for y in range(2) %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}", "{% for x in l %}{% set outer = loop %}{% for y in l %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% break %}{% else %}else{% endfor %}", "{% for x in l %}{% continue %}{% else %}else{% endfor %}", "{% for x in l %}{{ x }}{% if x == 1 %}{% break %}{% endif %}{% else %}else{% endfor %}", "{% break %}", "{% continue %}", "{% for x in l %}{% for y in l %}{% break %}{% endfor %}{{ x }}{% endfor %}", "{% for x in l %}{% else %}{% break %}{% endfor %}", "{% for y in l %}{% for x in [] %}{% else %}{% break %}{% endfor %}{{ y }}{% endfor %}", "{% for x in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}", "{% for x in l %}{% set q %}a{% break %}b{% endset %}{% endfor %}done", "{% for x in l %}{% filter upper %}a{% continue %}b{% endfilter %}{% endfor %}done", "{% for x in l %}{% with a = x %}{{ a }}{% if a == 1 %}{% break %}{% endif %}{% endwith %}{% endfor %}",
    "{% for x in l %}{% set y = x %}{% endfor %}[{{ y }}][{{ x }}]", "{% set y = 0 %}{% for x in l %}{% set y = y + x %}{{ y }};{% endfor %}{{ y }}", "{% set x = 'o' %}{% for x in l %}{{ x }}{% endfor %}{{ x }}", "{% for x in l %}{{ y }}{% set y = x %}{% endfor %}", "{% for x in l %}{% if loop.first %}{% set y = x %}{% endif %}[{{ y }}]{% endfor %}", "{% set y = 9 %}{% for x in l %}{% if loop.first %}{% set y = x %}{% endif %}[{{ y }}]{% endfor %}{{ y }}", "{% set ns = namespace(t=0) %}{% for x in l %}{% set ns.t = ns.t + x %}{% endfor %}{{ ns.t }}",
    "{% for i in tree recursive %}{{ i.v }}{% if i.c %}({{ loop(i.c) }}){% endif %}{% endfor %}", "{% for i in tree recursive %}{{ loop.depth }}:{{ loop.depth0 }}:{{ i.v }} {{ loop(i.c) }}{% else %}.{% endfor %}", "{% for i in tree recursive %}{% set x = i.v %}{{ x }}{{ loop(i.c) }}{{ x }};{% endfor %}", "{% for i in tree if i.v != 4 recursive %}{{ i.v }}{{ loop(i.c) }}{% endfor %}", "{% for i in l %}{{ loop([1]) }}{% endfor %}", "{% for i in [[1]] recursive %}{% if i is iterable %}{{ loop(i) }}{% else %}{{ i }}{% endif %}{% endfor %}", "{% for i in tree recursive %}{{ loop() }}{% endfor %}",
    "{% for x in l %}", "{% for x l %}{% endfor %}", "{% for in l %}{% endfor %}", "{% for x in %}{% endfor %}", "{% for x.y in l %}{% endfor %}", "{% for 1 in l %}{% endfor %}", "{% for true in l %}{% endfor %}", "{% for x in 1, 2, 3 %}{{ x }}{% endfor %}", "{% for x in (1, 2) %}{{ x }}{% endfor %}", "{% for x in l if x else [] %}{% endfor %}", "{% for x in (l if t else []) %}{{ x }}{% endfor %}", "{% for x in [1, 2] + [3] %}{{ x }}{% endfor %}", "{% for x in s.split(', ') %}{{ x }};{% endfor %}", "{% for x in l[::-1] %}{{ x }}{% endfor %}", "{% for x in l | reverse %}{{ x }}{% endfor %}", "{% for x in ns.items %}{% endfor %}", "{% for k in d.keys() %}{{ k }}{% endfor %}", "{% for x in users %}{{ x.name }}{{ ', ' if not loop.last }}{% endfor %}", "{% for u in users if u.admin %}{{ u.name }}{% endfor %}",
    "{% set m = l|map('string') %}{{ m|list }}{{ m|list }}", "{% set m = l|select %}{% for x in m %}{{ x }}{% break %}{% endfor %}{% for x in m %}[{{ x }}]{% endfor %}", "{% set m = l|reverse %}{{ m|list }}{{ m|list }}", "{% set m = l|map('nope') %}ok", "{% set m = d|items %}{{ m|list|length }}{{ m|list|length }}", "{% set m = l|batch(2) %}{{ m|first }}{{ m|list }}",
    # Set.
    "{% set x = 1 %}{{ x }}", "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set (x, y) = (1, 2) %}{{ x }}{{ y }}", "{% set x = 1, 2 %}{{ x }}", "{% set x, y = 1 %}", "{% set x, y = [1, 2, 3] %}", "{% set x %}a{{ n }}b{% endset %}[{{ x }}]", "{% set x | upper %}a{{ s }}b{% endset %}[{{ x }}]", "{% set x | upper | replace('A', 'z') %}abc{% endset %}[{{ x }}]", "{% set x %}{% set y = 1 %}{{ y }}{% endset %}{{ x }}[{{ y }}]", "{% set x = missing %}{{ x is defined }}", "{% set x %}  a  {% endset %}[{{ x|trim }}]", "{% set x = 1 if no %}[{{ x }}]{{ x is defined }}", "{% set x %}{% endset %}{{ x is string }}{{ x|length }}", "{% set x = y = 1 %}", "{% set x == 1 %}", "{% set 1 = 1 %}", "{% set none = 1 %}", "{% set x %}a", "{% set n = n + 1 %}{{ n }}", "{% set range = 5 %}{{ range }}", "{% set d.x = 1 %}", "{% set missing.x = 1 %}", "{% set ns = namespace() %}{% set ns.x = 1 %}{{ ns.x }}{{ ns.y }}|", "{% set ns = namespace(x=1) %}{% set ns.x, y = 2, 3 %}{{ ns.x }}{{ y }}", "{% set ns = namespace() %}{% set ns._x = 1 %}", "{% set ns = namespace() %}{% set ns.x %}abc{% endset %}{{ ns.x }}", "{% set ns = namespace(a=[1]) %}{{ ns }}", "{% set ns = namespace(d) %}{{ ns.a }}{{ ns.b }}", "{% set ns = namespace(x=1) %}{% if t %}{% set ns.x = 2 %}{% endif %}{{ ns.x }}", "{% set ns = namespace(f=false) %}{% for x in l %}{% if x == 1 %}{% set ns.f = true %}{% endif %}{% endfor %}{{ ns.f }}", "{% set ns = namespace(items=1, get=2) %}{{ ns.items }}{{ ns.get }}", "{% set a = [1] %}{% set b = a + [2] %}{{ a }}{{ b }}", "{% set a = 'q' %}{% set x | replace(a, s) %}q{% endset %}{{ x }}{{ s }}", "{% set _ = d.update({'q': 1}) %}", "{% set _ = l.append(1) %}", "{% set x = d.copy() %}{{ x }}", "{% set x = {'a': 1} %}{% set x = dict(x, b=2) %}{{ x }}",
    # Macros and calls.
    "{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=5, a=4) }}{{ m() }}", "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "{% macro m(a=b, b=2) %}[{{ a }}{{ b }}]{% endmacro %}{{ m() }}", "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m(1) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m(a) %}{{ varargs }}{% endmacro %}{{ m(1, 2, 3) }}", "{% macro m(a) %}x{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}x{% endmacro %}{{ m(q=1) }}", "{% macro m(a, a) %}{% endmacro %}", "{% macro m(a=1, b) %}{% endmacro %}", "{% macro m(a) %}{{ n }}{{ a }}{% endmacro %}{% set n = 3 %}{{ m(1) }}", "{% macro m() %}{{ later }}{% endmacro %}{{ m() }}{% set later = 5 %}{{ m() }}", "{% macro f(x) %}{% if x > 0 %}{{ x }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "{% macro m() %}{% set x = 1 %}{{ x }}{% endmacro %}{{ m() }}[{{ x }}]", "{% set x = 5 %}{% macro m() %}{{ x }}{% set x = 1 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}", "{% macro m(x) %}{{ x|upper }}{% endmacro %}{{ m('a')|length }}{{ m('a') ~ 'b' }}", "{{ m(1) }}{% macro m(a) %}{{ a }}{% endmacro %}",
    "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}x{{ n }}{% endcall %}", "{% macro m() %}<{{ caller(1, 2) }}>{% endmacro %}{% call(a, b) m() %}{{ a }}{{ b }}{% endcall %}", "{% macro m() %}<{{ caller(1) }}>{% endmacro %}{% call(a, b=3) m() %}{{ a }}{{ b }}{% endcall %}", "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}", "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "{% macro m(caller=none) %}{{ caller() if caller else 'no' }}{% endmacro %}{{ m() }}{% call m() %}y{% endcall %}", "{% call x %}{% endcall %}", "{% call s.upper() %}{% endcall %}", "{% macro m(a) %}{{ a }}{{ caller() }}{% endmacro %}{% call m(*[1]) %}y{% endcall %}", "{% for x in l %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}", "{% for x in l %}{% macro m(y) %}{{ x }}{{ y }}{% endmacro %}{{ m(loop.index) }};{% endfor %}[{{ m }}]", "{% if t %}{% macro m() %}a{% endmacro %}{% endif %}{{ m() }}", "{% if no %}{% macro m() %}a{% endmacro %}{% endif %}{{ m() }}", "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{% macro outer() %}{% macro inner() %}I{% endmacro %}{{ inner() }}{% endmacro %}{{ outer() }}", "{% macro m(x) -%}\n  {{ x }}\n{%- endmacro %}\n[{{ m(1) }}]", "{% macro m(d) %}{% for k, v in d.items() %}{{ k }}:{% if v is mapping %}{{ m(v) }}{% else %}{{ v }}{% endif %};{% endfor %}{% endmacro %}{{ m(d) }}", "{% set ns = namespace() %}{% macro m() %}x{{ n }}{% endmacro %}{% set ns.m = m %}{{ ns.m() }}", "{% macro m() %}{{ loop }}{% endmacro %}{% for x in l %}{{ m() }}{% endfor %}", "{% macro m(kwargs) %}{{ kwargs }}{% endmacro %}{{ m(1) }}", "{% macro m() %}{% for k, v in kwargs.items() %}{{ k }}{{ v }}{% endfor %}{% endmacro %}{{ m(a=1, b=2) }}", "{% macro m %}{% endmacro %}", "{% macro m(1) %}{% endmacro %}", "{% macro m(a.b) %}{% endmacro %}", "{% macro m(a) %}x", "{% macro true() %}{% endmacro %}", "{% macro m() %}{% endmacro %}{{ m() is string }}{{ m() == '' }}", "{% macro m(x) %}{{ x }}{% endmacro %}{{ [1, 2]|map('string')|map('upper')|list }}{{ m(m(m(1))) }}", "{% macro m(a, b) %}{{ a }}-{{ b }}{% endmacro %}{{ m(**{'a': 1, 'b': 2}) }}{{ m(*(3, 4)) }}{{ m(5, **{'b': 6}) }}",
    # Filter, with, scopes, blocks, generation, others.
    "{% filter upper %}a{{ s }}b{% endfilter %}", "{% filter replace('a', 'b')|upper %}aaa{% endfilter %}", "{% filter trim %}  x  {% endfilter %}", "{% filter nope %}x{% endfilter %}", "{% filter upper %}{% set x = 1 %}{{ x }}{% endfilter %}[{{ x }}]", "{% filter indent(2) %}a\nb{% endfilter %}", "{% filter upper %}{% filter lower %}A{% endfilter %}b{% endfilter %}", "{% set w = 3 %}{% filter center(w) %}a{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}[{{ a }}]", "{% with %}{% set q = 1 %}{{ q }}{% endwith %}[{{ q }}]", "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with a, b = 1, 2 %}{% endwith %}", "{% with a, b = (1, 2) %}{{ a }}{{ b }}{% endwith %}", "{% with n = n + 1 %}{{ n }}{% endwith %}{{ n }}", "{% with a %}{% endwith %}", "{% block x %}a{{ n }}{% endblock %}", "{% set q = 5 %}{% block x %}{{ q }}{% endblock %}", "{% block x %}{% set q = 5 %}{% endblock %}[{{ q }}]", "{% block x %}{% endblock %}{% block x %}{% endblock %}", "{% block x %}a{% endblock x %}", "{% for x in l %}{% block b %}{{ x }}{% endblock %}{% endfor %}",
    "{% generation %}a{{ n }}{% endgeneration %}b", "{%- generation -%} x {%- endgeneration -%} y", "{% generation %}{% set x = 1 %}{{ x }}{% endgeneration %}[{{ x }}]", "{% for x in l %}{% generation %}{{ x }}{{ loop.index }}{% endgeneration %}{% endfor %}", "{% generation %}x", "{% autoescape false %}{{ html }}{% endautoescape %}", "{% print 1, 2 %}", "{% print s %}", "{% do l.append(1) %}", "{% include 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% extends 'x' %}", "{% if no %}{% include 'x' %}{% endif %}ok", "{% nope %}", "{% endfor %}", "{% if t %}{% endfor %}{% endif %}", "{% 1 %}", "{% trans %}x{% endtrans %}", "{% debug %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set _ = c.reset() %}{{ c.current }}", "{% set j = joiner(';') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}", "{% set j = joiner() %}{{ j() }}{{ j() }}{{ j.sep }}", "{{ raise_exception('a ' ~ n) }}", "{% if no %}{{ raise_exception('x') }}{% endif %}ok", "{%- for m in users -%}{{- m.name + '\n' -}}{%- endfor -%}", "{{ s\n| upper\n}}", "{{ 'a'\n'b' }}", "{{ [\n1,\n2\n] }}", "{{ d. a }}", "{{ d .a }}", "{{ l [0] }}", "{{ range (3) | list }}", "{{ s|replace ('l','L') }}", "{{ s | upper () }}", "{% set x = d\n.a %}{{ x }}", "{% set x -%} a {%- endset %}[{{ x }}]", "{{ 'x' }}{{ 'y' }}\n\n{{ 'z' }}\n\n", "äöü {{ u }} 世界", "{{ ns.x is defined }}", "{% set ä = 1 %}{{ ä }}", "{% set x1_ = 1 %}{{ x1_ }}", "{{ 'é' == 'e\u0301' }}", "\ufeff{{ n }}", "\x00{{ n }}\x01",
    "{% set msgs = [{'role': 'a', 'content': 'x'}] + [{'role': 'b'}] %}{% for m in msgs %}{{ m.role }}{{ m.content is defined }}{{ m['content'] }}{% endfor %}", "{% set loop_messages = users[1:] %}{% for m in loop_messages %}{{ m.name }}{% endfor %}", "{% if users[0]['name'] == 'Bob' and users|length > 2 %}{{ users[-1].name }}{% endif %}", "{{ '<|' + users[0].name + '|>\n' + users[1].name | trim + '<|end|>' }}", "{% for u in users %}{% if (u.age == 30) != (loop.index0 % 2 == 0) %}{{ u.name }}{% endif %}{% endfor %}", "{{ users[0].tags if users[0].tags is not none else [] }}", "{% set ns = namespace(last=0) %}{% for u in users[::-1] %}{% set index = (users|length - 1) - loop.index0 %}{% if u.admin %}{% set ns.last = index %}{% endif %}{% endfor %}{{ ns.last }}", "{% set content = '<think>a</think>b' %}{{ content.split('</think>')[-1].lstrip('\n') }}{{ content.split('</think>')[0].rstrip('\n').split('<think>')[-1] }}",
    "{% macro p(x, level=0) %}{{ '  ' * level }}{{ x.v }}\n{% for c in x.c %}{{ p(c, level + 1) }}{% endfor %}{% endmacro %}{% for x in tree %}{{ p(x) }}{% endfor %}", "{% set a = 1 %}{% macro m() %}{% set a = 2 %}{% for x in [1] %}{% set a = 3 %}{{ a }}{% endfor %}{{ a }}{% endmacro %}{{ m() }}{{ a }}", "{% for x in l %}{% for y in l %}{% if y == x %}{% set z = y %}{% endif %}{% endfor %}[{{ z }}]{% endfor %}", "{% set x = 1 %}{% if t %}{% set x = x + 1 %}{% endif %}{% with %}{% set x = x + 1 %}{{ x }}{% endwith %}{{ x }}", "{% for i in range(3) %}{% set a = i %}{% set b = a %}{% endfor %}{{ a is defined }}", "{% for x in l %}{% set x = x * 2 %}{{ x }}{% endfor %}", "{% for x in [1] %}{% set s = 'in' %}{{ s }}{% endfor %}{{ s }}", "{% if s %}{% for x in [1] %}{% if x %}{% set s = 'deep' %}{% endif %}{{ s }}{% endfor %}{% endif %}{{ s }}", "{% set s = s %}{{ s }}", "{% for s in [s] %}{{ s }}{% endfor %}", "{% for x in [x] %}[{{ x }}]{% endfor %}", "{% set x = x %}{{ x is defined }}",
]
