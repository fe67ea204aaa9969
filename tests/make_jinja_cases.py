#!/usr/bin/env python3
"""Writes tests/jinja_cases.h: templates and what Jinja 3 makes of them.

Usage: python3 tests/make_jinja_cases.py > tests/jinja_cases.h
Needs python3-jinja2, which the tests do not. The environment is set up as transformers does it for
chat templates. "!" as the expected text stands for an error.
"""
import json

from jinja2.exceptions import TemplateError
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

VARIABLES = {
    "name": "Ada",
    "uni": "Grüße, Ж日本😀!",
    "text": "  one two\tthree \n",
    "n": 7,
    "f": 2.5,
    "yes": True,
    "no": False,
    "nil": None,
    "list": [3, 1, 2],
    "words": ["b", "A", "c", "a"],
    "empty": [],
    "d": {"a": 1, "b": [True, None], "c": {"x": "y"}},
    "people": [{"n": "Bo", "age": 30}, {"n": "al", "age": 25}, {"n": "Cy", "age": 30, "x": 1}],
    "think": "<think>\nhm\n</think>\n\nYes.",
    "lines": "a\nb\n\nc",
    "quote": "it's \"so\"\\\n",
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4
(1 + 2) * 3
7 / 2
8 / 2
7 // 2
-7 // 2
7 % 3
-7 % 3
7 % -3
-7.5 % 2
7.5 // 2
2 ** 10
2 ** -1
2 ** 3 ** 2
-2 ** 2
- n
+ f
1.0
1e3
1e16
1e15
0.0001
0.00001
1.5e300
0.1 + 0.2
100 * 1.1
1_000
true
none
yes
nil
[1, 'a', none, true, 2.0]
(1, 2)
(1,)
()
[]
{}
{'a': 1, "b": [1, 2], 'c': {'d': none}}
{1: 2, 'x': (1,)}
"it's"
["it's"]
['a"b']
[quote]
['\t\x01é\u2028']
[uni]
"a" "b"
'a' ~ 1 ~ none ~ [1] ~ missing
'a' + 'b'
'a' * 3
3 * 'ab'
[1] * 2 + [2]
'a' + 1
1 + 'a'
none + 1
missing + 1
missing
missing.x
d.missing
d.missing.x
d['missing']
d['missing']['x']
missing ~ 'x'
list[0]
list[-1]
list[10]
list[10].x
list['a']
list.0
d.a
d['b']
d.b[0]
d.c.x
d['c']['x']
name[0]
name[-1]
name[9]
uni[0:6]
uni[-3:]
uni[::-1]
uni[7:10]
uni[1:8:2]
uni[10:2:-3]
list[1:]
list[:-1]
list[::-1]
list[::2]
list[-2:]
list[5:]
list[2:0:-1]
list[:99]
words[1:3]
(1,2,3)[1:]
'abc'[::0]
1 < 2 < 3
1 < 3 < 2
1 == 1.0
true == 1
'a' == 'a' != 'b'
'a' < 'b'
'Z' < 'a'
[1, 2] < [1, 3]
[1, 2] == [1, 2]
(1, 2) == [1, 2]
{'a': 1} == {'a': 1}
1 < 'a'
none < 1
none == none
missing == none
missing == missing2
1 in [1, 2]
3 not in [1, 2]
'a' in 'abc'
'x' not in 'abc'
'a' in d
'z' in d
'a' in missing
1 in 'abc'
'a' in none
not yes
not 1 == 2
yes and 'x'
no and 'x'
no or 'x'
'' or none or []
yes and no or 3
'a' if yes else 'b'
'a' if no else 'b'
'a' if no
('a' if no) is defined
'a' if no else 'b' if no else 'c'
name is defined
missing is defined
missing is not defined
d.missing is defined
d.a is defined and d.a == 1
nil is none
missing is none
name is string
n is string
d is mapping
list is mapping
list is iterable
name is iterable
n is iterable
d is iterable
list is sequence
n is sequence
d is sequence
name is sequence
nil is sequence
n is number
f is number
yes is number
n is integer
yes is integer
f is integer
f is float
yes is boolean
n is boolean
yes is true
1 is true
no is false
n is odd
n is even
8 is even
n is divisibleby 7
n is divisibleby(2)
n is eq 7
n is ne(7)
n is lt 8
n is ge 8
n is sameas 7
nil is sameas none
yes is sameas true
1 in list is true
n is in [7, 8]
'A' is upper
'a' is upper
'1' is lower
missing is undefined
range is callable
name is callable
not name is none
name is not none and n is number
'abc' is string and 'abc'|length == 3
'upper' is filter
'odd' is test
name is nosuchtest
text.strip()
text|trim
[text.lstrip(), text.rstrip()]
text.split()
text.split(' ')
text.split(none, 1)
'a b c'.split(' ', 1)
'a b c'.split(maxsplit=1)
'a,b,,c'.split(',')
'a,b,,c'.rsplit(',', 1)
'a b  c '.rsplit(none, 1)
'  a  b  c '.split(none, 1)
''.split()
''.split(',')
'abc'.split('')
think.split('</think>')
think.split('</think>')[-1].lstrip('\n')
think.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n')
lines.splitlines()
lines.splitlines(true)
'a\r\nb'.splitlines()
uni.upper()
uni.lower()
uni.title()
"they're bill's".title()
"they're bill's-new (x)"|title
'straße'.upper()
'ÀÉ'.lower()
'hello wORLD'.capitalize()
'éa'.capitalize()
'hello'|capitalize
uni|length
uni|count
d|length
list|length
missing|length
n|length
name.startswith('A')
name.startswith(('x', 'A'))
name.endswith('a')
name.endswith('x')
'aXbX'.replace('X', 'yy')
'aXbX'.replace('X', 'y', 1)
'abc'.replace('', '-')
'aaa'|replace('a', 'b', 2)
42|replace('4', 'x')
'abc'.find('c')
uni.find('日')
'abc'.find('x')
'abcabc'.rfind('b')
'abc'.index('x')
'banana'.count('an')
'abc'.count('')
', '.join(['a', 'b'])
', '.join([1])
'-'.join('abc')
'abc'.isalpha()
'ab1'.isalpha()
'ab1'.isalnum()
'12'.isdigit()
''.isdigit()
' \t'.isspace()
'AB'.isupper()
'Ab'.isupper()
'42'.zfill(5)
'-42'.zfill(5)
'ab'.center(7)
'abc'.center(6, '*')
'ab'.ljust(4) ~ '|'
'ab'.rjust(4)
'prefix-x'.removeprefix('prefix-')
'x.txt'.removesuffix('.txt')
'a=b=c'.partition('=')
'a=b=c'.rpartition('=')
'abc'.partition('x')
'{} and {}'.format(1, 'b')
'{1} {0} {x}'.format('a', 'b', x=3)
'{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd')
'{:05d} {:.2f} {:,} {:x} {:+d}'.format(42, 3.14159, 1234567, 255, 5)
'{{}} {}'.format(1)
'{}'.format()
'%s-%d-%.1f' % ('a', 3, 2.25)
'%5s|%-5s|%05d|%x|%%' % ('a', 'b', 42, 255)
'%s' % 'one'
'%s %s' % 'one'
'%r' % 'a'
'%(a)s' % {'a': 1}
'%s and %s'|format('a', 'b')
'x'.nosuch()
'x'.nosuch
name.__class__
d.items()|list
d.keys()|list
d.values()|list
d.get('a')
d.get('z')
d.get('z', 5)
d|items|list
d|dictsort
{'b': 1, 'A': 2, 'c': 0}|dictsort
{'b': 1, 'A': 2, 'c': 0}|dictsort(true)
{'b': 1, 'A': 2, 'c': 0}|dictsort(false, 'value')
{'b': 1, 'A': 2, 'c': 0}|dictsort(reverse=true)
{'items': 1}.items()|list
{'items': 1}['items']
list.append(1)
d.update({})
list.index(2)
list.count(1)
list|sort
words|sort
words|sort(case_sensitive=true)
words|sort(reverse=true)
people|sort(attribute='age')|map(attribute='n')|list
list|first
list|last
empty|first
empty|last
name|first
name|last
list|sum
people|sum(attribute='age')
list|max
list|min
empty|max
words|min
words|max
list|reverse|list
'abc'|reverse
words|unique|list
words|join
words|join(', ')
[1, none, 2.5]|join('-')
people|join(', ', attribute='n')
words|map('upper')|list
people|map(attribute='n')|join(' ')
people|map(attribute='x', default='-')|list
words|map('replace', 'a', 'x')|list
list|select('odd')|list
list|reject('odd')|list
list|select('gt', 1)|list
[0, 1, '', 'x']|select|list
people|selectattr('age', 'equalto', 30)|map(attribute='n')|list
people|selectattr('age', '==', 30)|list|length
people|rejectattr('age', '==', 30)|map(attribute='n')|list
people|selectattr('x')|map(attribute='n')|list
people|selectattr('x', 'defined')|map(attribute='n')|list
people|rejectattr('x', 'defined')|list|length
people|selectattr('n', 'in', ['Bo', 'Cy'])|list|length
nil|selectattr('x')|list
nil|rejectattr('x', 'equalto', 1)|list
nil|select|list
nil|reject('none')|list
nil|map('upper')|list
nil|map(attribute='x')|list
nil|list
nil|join(',')
people|groupby('age')|map('first')|list
[1,2,3,4,5]|batch(2)|list
[1,2,3,4,5]|batch(2, 'x')|list
[1,2,3,4,5]|slice(3)|list
[1,2,3,4,5]|slice(3, 'x')|list
missing|default('x')
missing|d('x')
''|default('x')
''|default('x', true)
none|default('x')
missing|default
'3'|int
'x'|int
'x'|int(7)
'3.7'|int
3.9|int
'ff'|int(0, 16)
' 5 '|int
'2.5'|float
'x'|float
n|float
-5|abs
(-5)|abs
-2.5|abs
2.567|round(2)
2.5|round
3.5|round
2.4|round(0, 'ceil')
7|round
n|string + 'x'
'a&<>"\''|e
'hello world foo'|truncate(8)
'hello world foo'|truncate(8, true, '…', 0)
'hello'|truncate(8)
'one two'|wordcount
'a b/ü'|urlencode
{'a b': 1, 'c/d': 'x&y'}|urlencode
[['k', 'v w'], ('m', none)]|urlencode
[]|urlencode
[1]|urlencode
lines|indent
lines|indent(2, true)
lines|indent(2, first=true, blank=true)
lines|indent('> ')
'ab'|center(6)
'x'|upper|lower
'x'|nosuch
words|list
name|list
d|list
missing|list
range(3)|list
range(1, 4)|list
range(0, 10, 3)|list
range(5, 0, -2)|list
range(3, 0)|list
range(3)|length
range(1000000)|length
dict(a=1, b=2)
dict({'x': 1}, y=2)
dict([('a', 1)])
namespace(a=1).a
d|tojson
uni|tojson
quote|tojson
'\x01\x7f\u2028</a>'|tojson
[1, 2.0, none, true, 'x', (1, 2)]|tojson
{}|tojson
[]|tojson
d|tojson(indent=2)
[[], {}, [1]]|tojson(indent=4)
{'b': 1, 'a': 2}|tojson(sort_keys=true)
{'a': [1, 2]}|tojson(separators=(',', ':'))
uni|tojson(ensure_ascii=true)
{1: 2, none: 3, true: 4}|tojson
missing|tojson
range|tojson
1e22|tojson
loop
d|attr('items') is callable
d is defined and d is mapping and 'a' in d
'a' 'b' ~ 'c'
1 ~ 2 + 3
[1, 2,]
{'a': 1,}
(1 if yes else 2) + 3
[x for x in list]
'a'.upper().lower()
(name ~ '!')|upper
name|upper ~ '!'
-n|abs
list | map('string') | join(',')
1 if missing else 2
'\u00e9\x41\101\n\\'
'\q'
'a\
b'
"a'b"
'a"b'
d.c|tojson|upper
not missing
none ~ ''
namespace(a=1) is mapping
[none, missing]|length
'ab' in ['ab', 'cd']
list == [3, 1, 2]
[[1, 2], [3]]|sum(start=[])
name|default('x')|upper
yes|string
[1.0, 1e100, -0.0]
(2 > 1)|int
'10' > '9'
n in (1, 7)
"%s" % none
'abc'|list|reverse|join
"a\tb".split('\t')
text.strip(' ').strip('\n\t ')
raise_exception('no ' ~ name)
1 // 0
1 / 0
1 % 0
9223372036854775807
"é" < "z"
'ǆ'.title() ~ 'ŉ'.upper() ~ 'İ'.lower()
words|map('nosuch')|list
d.b|first is true
people[0].n ~ people[-1]['age']
{'a': 1}.a
[1, 2][1]
'x'.join(words[:2])
(1, 'a', none)|string
list is not string and list is iterable
1 == '1'
'' is defined
loop is defined
"a" is in "abc"
missing.a.b is defined
missing['a'] is defined
d.zz is none
(d.zz or 'q')
[d.zz, 1]|select('defined')|list
d.b is sequence and d.b is not string
'{"a": 1}'|tojson
'a' ~ ('b' if yes)
'a' ~ ('b' if no)
""|length == 0
'a,b'.split(',')|map('trim')|list
'AbC'|lower|title
'%d%%' % 50
'%s' % [1, 2]
'%s|%s' % (none, true)
'{0}{0}'.format('z')
'x'|center(4)|length
"abc"[1:][0]
"abc"[-2]
d.items()|map(attribute=0)|list
d.items()|map('first')|list
people|map('length')|list
words|sort|first
"x" if d.a > 0 and not d.b is none else "y"
5 is gt(3) and 5 is lt(9)
"""

TEMPLATES = [
    "{% for x in list %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}"
    "{{ loop.revindex }}{{ loop.revindex0 }} {% endfor %}",
    "{% for x in list %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
    "{% for x in list %}{{ loop.previtem is defined }}{% endfor %}",
    "{% for x in list if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}",
    "{% for x in empty %}x{% else %}none{% endfor %}",
    "{% for x in missing %}x{% else %}none{% endfor %}",
    "{% for x in none %}x{% endfor %}",
    "{% for x in 5 %}x{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for a, b in [(1, 2), (3, 4)] %}{{ a + b }} {% endfor %}",
    "{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}",
    "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for c in uni %}{{ c }}.{% endfor %}",
    "{% for x in list %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in list %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}!",
    "{% for x in [1, 2] %}{% for y in [1, 2, 3] %}{% if y == 2 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}",
    "{% for x in list %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for x in [1, 2] %}{% set outer = loop %}{% for y in [1, 2] %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{% set x = 1 %}{% for i in list %}{% set x = i %}{{ x }}{% endfor %}{{ x }}",
    "{% set x = 1 %}{% for i in list %}{{ x }}{% set x = x + 1 %}{% endfor %}",
    "{% set x = 1 %}{% if yes %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% set ns = namespace(n=0, s='') %}{% for i in list %}{% set ns.n = ns.n + i %}{% set ns.s = ns.s ~ i %}{% endfor %}{{ ns.n }}{{ ns.s }}",
    "{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}{{ ns.b }}",
    "{% set d.a = 1 %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a = 1, 2 %}{{ a }}",
    "{% set x %}a{{ n }}b{% endset %}{{ x }}{{ x|length }}",
    "{% set x | upper | replace('A', 'z') %}abc{% endset %}{{ x }}",
    "{% set ns = namespace() %}{% set ns.x %}hi{% endset %}{{ ns.x }}",
    "{% set x %}{% set y = 1 %}{{ y }}{% endset %}{{ x }}{{ y }}",
    "{% if no %}a{% elif nil %}b{% elif yes %}c{% else %}d{% endif %}",
    "{% if missing %}a{% else %}b{% endif %}",
    "{% if list %}a{% endif %}{% if empty %}b{% endif %}{% if '' %}c{% endif %}{% if 0.0 %}d{% endif %}{% if {} %}e{% endif %}",
    "{% macro m(a, b='x', c=none) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}|{{ m(1, 2) }}|{{ m(1, c=3) }}|{{ m(b=1, a=2) }}|{{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}",
    "{% set x = 'o' %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 'p' %}{{ m() }}",
    "{% macro m() %}{% set x = 1 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}",
    "{% macro m() %}  a  {% endmacro %}[{{ m()|trim }}]",
    "{% for i in list %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% macro w() %}<{{ caller() }}>{% endmacro %}{% call w() %}in{{ n }}{% endcall %}",
    "{% macro w() %}<{{ caller(1, 2) }}>{% endmacro %}{% call(a, b) w() %}{{ a }}-{{ b }}{% endcall %}",
    "{% macro o() %}{% macro i() %}{{ caller is defined }}{% endmacro %}{{ i() }}{{ caller() }}{% endmacro %}{% call o() %}x{% endcall %}",
    "{% macro i() %}{{ caller() }}{% endmacro %}{% macro o() %}{% call i() %}{{ caller is defined }}{% endcall %}{{ caller() }}{% endmacro %}{% call o() %}x{% endcall %}",
    "{% macro m(caller=3) %}{{ caller }}{% endmacro %}{{ m() }}{{ m(4) }}",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ [1, 2]|map('string')|join }}{{ m(*[5]) }}{{ m(**{'x': 6}) }}",
    "{% filter upper %}a{{ name }}b{% endfilter %}",
    "{% filter replace('a', 'b')|upper %}aha{% endfilter %}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% raw %}{{ not }} {% this %}{% endraw %}x",
    "a {%- raw -%} {{ x }} {%- endraw -%} b",
    "a{# comment #}b{#- c -#} d {# x\ny #}\ne",
    "a\n{# c #}\nb\n  {#- c #}\nc",
    "a\n  {% if yes %}\n    b\n  {% endif %}\nc\n",
    "a\n  {%- if yes %}\n    b\n  {%- endif %}\nc\n\n",
    "a\n  {%+ if yes %}\n    b\n  {%+ endif +%}\nc",
    "  {% if yes %}x{% endif %}  {% if yes %}y{% endif %}\n  z",
    "  {{ n }}\n  {{- n }}\n{{ n -}}\n  {{ n }}\n\n",
    "{{ n }}\n{{ n }}",
    "x {% if yes %} y {% endif %} z",
    "x\n {% set a = 1 %} {% set b = 2 %}\ny",
    "{% set a = 1 -%}\n\n  x",
    "a\r\nb\rc\r\n",
    "{{ '}}' }}{{ '%}' }}{{ {'a': {'b': 1}}['a']['b'] }}",
    "{{ {'a': {'b': 1}}}}",
    "{{ 'multi\nline' }}",
    "{%if yes%}x{%endif%}{{n}}{{-n}}",
    "{% if yes %}{% for i in [1] %}{{ i }}{% endfor %}{% endif %}",
    "{% generation %}x{{ n }}{% endgeneration %}",
    "{% set loop_messages = people %}{% for m in loop_messages %}{% if (m['age'] == 30) != (loop.index0 % 2 == 0) %}{{ m['n'] }}{% endif %}{% endfor %}",
    "{% for m in people[1:] %}{{ m.n }}{% endfor %}",
    "{% for m in people[::-1] %}{{ loop.index }}{{ m.n }}{% if not loop.last %},{% endif %}{% endfor %}",
    "{% set ns = namespace(last=people|length - 1, multi=true) %}{% for m in people[::-1] %}{% set index = (people|length - 1) - loop.index0 %}"
    "{% if ns.multi and m.age == 25 %}{% set ns.multi = false %}{% set ns.last = index %}{% endif %}{% endfor %}{{ ns.last }}{{ ns.multi }}",
    "{% if 'x' in d and d.x %}a{% elif d.c is defined and d.c.x is string %}b{% endif %}",
    "{{ 'a' }}{% if true %}\n{% endif %}b",
    "{% if yes -%}\n   x\n{%- endif %}",
    "{% set tools = none %}{% if tools is not none %}a{% else %}b{% endif %}",
    "{%- for m in people -%}\n {{ m.n }}\n{%- endfor -%}",
    "{% macro show(x, depth=0) %}{% if x is mapping %}{% for k, v in x.items() %}{{ '  ' * depth }}{{ k }}:\n{{ show(v, depth + 1) }}{% endfor %}"
    "{% else %}{{ '  ' * depth }}{{ x }}\n{% endif %}{% endmacro %}{{ show(d) }}",
    "{% for x in [1,2,3] %}{% set y = x %}{% endfor %}{{ y is defined }}",
    "{% set x = 5 %}{% with %}{% set x = 6 %}{{ x }}{% endwith %}{{ x }}",
    "{% include 'x' %}",
    "{% extends 'x' %}",
    "{% nosuch %}",
    "{% if yes %}",
    "{% for x in list %}",
    "{{ n",
    "{{ n }",
    "{{ }}",
    "{{ 'a }}",
    "{{ a b }}",
    "{{ (1 }}",
    "{% endif %}",
    "{# open",
    "{% raw %}x",
    "{% set x = %}",
    "{% set 1 = 2 %}",
    "{% macro m( %}{% endmacro %}",
    "{% break %}",
    "{{ 1 if }}",
    "{{ x. }}",
    "{{ d[ }}",
    "text only\n",
    "",
    "\n",
    "\n\n",
    "{{ '' }}\n\n",
    "a{{ '\\n' }}\n",
    "{% if yes %}\n\nx{% endif %}",
    "x{% if yes %}   \ny{% endif %}",
    "{%- set a = 1 %}\n{%- set b = 2 %}\n{{- a + b }}\n",
    "   {%- if yes %} a {%- endif %}",
    "{% if yes %}a{% else %}b{% endif %}\n",
    "{{ namespace(x=1) is defined }}{{ range(2) is iterable }}",
    "{% set ns = namespace(found=false) %}{% for p in people %}{% if p.n == 'al' %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.found }}",
    "{% for i in range(3) %}{% for j in range(i) %}{{ i }}{{ j }},{% endfor %}{% endfor %}",
    "{% for x in list %}{% else %}none{% endfor %}x",
    "{% for x in list|sort %}{{ x }}{% endfor %}{{ x }}",
    "{% for p in people|selectattr('age', 'gt', 26) %}{{ p.n }}{% endfor %}",
    "{% for key in ['a', 'zz'] %}{% if d[key] is defined %}{{ d[key] }}{% endif %}{% endfor %}",
]


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        from jinja2 import nodes

        return nodes.CallBlock(self.call_method("_run"), [], [], body).set_lineno(lineno)

    def _run(self, caller):
        return caller()


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(
            x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    def raise_exception(message):
        raise TemplateError(message)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


def literal(text):
    """`text` as a C++ string literal."""
    out = '"'
    for byte in text.encode():
        if byte in b'"\\':
            out += "\\" + chr(byte)
        elif byte == 10:
            out += "\\n"
        elif 32 <= byte < 127 and chr(byte) != "?":
            out += chr(byte)
        else:
            out += f"\\{byte:03o}"
    return out + '"'


def rendered(env, template):
    try:
        return env.from_string(template).render(**VARIABLES)
    except (TemplateError, TypeError, ValueError, ZeroDivisionError, OverflowError, IndexError, AttributeError, SyntaxError):
        return "!"


def main():
    env = environment()
    expressions = EXPRESSIONS.strip().replace("'a\\\nb'", "'a\\@b'").split("\n")
    templates = ["{{ " + e.replace("\\@", "\\\n") + " }}" for e in expressions] + TEMPLATES
    print("// Made by make_jinja_cases.py; do not edit.")
    print("#pragma once")
    print()
    print("namespace nibble::test {")
    print()
    print("// What the templates are rendered with.")
    print("// clang-format off")
    print(f"inline constexpr const char* kJinjaVariables = {literal(json.dumps(VARIABLES))};")
    print()
    print("struct JinjaCase {")
    print("  const char* source;")
    print('  const char* expected;  // "!": an error')
    print("};")
    print("inline constexpr JinjaCase kJinjaCases[] = {")
    for template in templates:
        print(f"    {{{literal(template)}, {literal(rendered(env, template))}}},")
    print("};")
    print("// clang-format on")
    print()
    print("}  // namespace nibble::test")


if __name__ == "__main__":
    main()
