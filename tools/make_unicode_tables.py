#!/usr/bin/env python3
"""Writes src/text/unicode_tables.cpp: what the tokenizers know about all code points.

Usage: python3 tools/make_unicode_tables.py > src/text/unicode_tables.cpp
The data is Python's unicodedata. Each table is a text of numbers, decoded by src/text/unicode.cpp:
base 32, low digits first, a digit of 32 and above says that more follow; digit d is the character
0x23 + d, one further from the backslash on.
"""
import unicodedata

N_CODE_POINTS = 0x110000
CATEGORIES = [  # enum Category of unicode.h
    "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi",
    "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn"]
SCRIPTS = {  # by the beginnings of names, and what has another name
    "Han": (("CJK UNIFIED IDEOGRAPH", "CJK COMPATIBILITY IDEOGRAPH", "CJK RADICAL", "KANGXI RADICAL"),
            [0x3005, 0x3007, *range(0x3021, 0x302A), *range(0x3038, 0x303C), 0x16FE2, 0x16FE3,
             0x16FF0, 0x16FF1]),
    "Hiragana": (("HIRAGANA LETTER", "HENTAIGANA", "HIRAGANA ITERATION", "HIRAGANA VOICED",
                  "HIRAGANA DIGRAPH"), [0x1F200]),
    "Katakana": (("KATAKANA LETTER", "KATAKANA ITERATION", "KATAKANA VOICED", "KATAKANA DIGRAPH",
                  "HALFWIDTH KATAKANA LETTER", "CIRCLED KATAKANA", "SQUARE "), []),
    "Hangul": (("HANGUL", "PARENTHESIZED HANGUL", "CIRCLED HANGUL", "HALFWIDTH HANGUL",
                "PARENTHESIZED KOREAN", "CIRCLED KOREAN"), []),
}


def number(value):
    text = ""
    while True:
        digit = value & 31
        value >>= 5
        if value:
            digit |= 32
        text += chr(0x23 + digit if 0x23 + digit < 0x5C else 0x24 + digit)
        if not value:
            return text


def signed(value):
    return number(value * 2 if value >= 0 else -value * 2 - 1)


def runs(of):
    """[[length, value]] of all code points in order."""
    out = []
    for code_point in range(N_CODE_POINTS):
        value = of(code_point)
        if out and out[-1][1] == value:
            out[-1][0] += 1
        else:
            out.append([1, value])
    return out


def categories():
    return "".join(number(n * 32 + CATEGORIES.index(c))
                   for n, c in runs(lambda c: unicodedata.category(chr(c))))


def combining_classes():
    return "".join(number(n) + number(c) for n, c in runs(lambda c: unicodedata.combining(chr(c))))


def decompositions():
    """distance from the last code point; 16 * targets + flags; a count if the run flag is set; then
    the targets: the first relative to the last first one, the others to U+0300."""
    entries = []
    for c in range(N_CODE_POINTS):
        parts = unicodedata.decomposition(chr(c)).split()
        if not parts:
            continue
        compatible = parts[0].startswith("<")
        targets = [int(p, 16) for p in parts[compatible:]]
        composes = not compatible and len(targets) == 2 and \
            unicodedata.normalize("NFC", chr(c)) == chr(c)
        flags = compatible + 2 * composes
        last = entries[-1] if entries else None
        if last and len(targets) == 1 and last[1] == flags and len(last[2]) == 1 and \
                last[0] + last[3] == c and last[2][0] + last[3] == targets[0]:
            last[3] += 1
        else:
            entries.append([c, flags, targets, 1])
    out, last_c, last_target = "", 0, 0
    for c, flags, targets, count in entries:
        out += number(c - last_c) + number(16 * len(targets) + flags + (4 if count > 1 else 0))
        if count > 1:
            out += number(count)
        out += signed(targets[0] - last_target) + "".join(signed(t - 0x300) for t in targets[1:])
        last_c, last_target = c, targets[0]
    return out


def mapping(of):
    """Runs of code points that map to others at one distance: distance from the end of the last
    run, 2 * count + (every second one?), distance of the image."""
    entries = []
    for c in range(N_CODE_POINTS):
        image = of(chr(c))
        if len(image) != 1 or ord(image) == c:
            continue
        delta = ord(image) - c
        last = entries[-1] if entries else None
        if last and last[3] == delta and last[1] == 1 and c - last[0] <= 2:
            last[1], last[2] = 2, c - last[0]
        elif last and last[3] == delta and last[1] > 1 and c == last[0] + last[1] * last[2]:
            last[1] += 1
        else:
            entries.append([c, 1, 1, delta])
    out, end = "", 0
    for c, count, step, delta in entries:
        out += number(c - end) + number(2 * count + (step == 2)) + signed(delta)
        end = c + (count - 1) * step
    return out


def fold(c):  # simple case folding
    image = c.casefold()
    return image if len(image) == 1 else c.lower()


def script(code_point):
    name = unicodedata.name(chr(code_point), "")
    for i, (starts, extra) in enumerate(SCRIPTS.values()):
        if code_point in extra:
            return i + 1
        if name.startswith(starts) and unicodedata.category(chr(code_point)) != "Sk":
            if "SQUARE " in starts and name.startswith("SQUARE "):
                if not (0x3300 <= code_point <= 0x3357):
                    continue
            if name.startswith("HANGUL") and unicodedata.category(chr(code_point)) == "Mc":
                if code_point not in (0x302E, 0x302F):
                    continue
            return i + 1
    return 0


def scripts():
    return "".join(number(n * 8 + s) for n, s in runs(script))


def emit(name, comment, text):
    print()
    print(comment)
    print(f"extern const std::string_view {name} =")
    lines = [text[i:i + 94] for i in range(0, len(text), 94)]
    print("\n".join(f'    "{line}"' for line in lines) + ";")


print("// Generated by tools/make_unicode_tables.py, where the encoding is described; do not edit.")
print("#include \"text/unicode_tables.h\"")
print()
print("namespace nibble {")
print()
print(f"// Unicode {unicodedata.unidata_version}.")
print("// clang-format off")
emit("kCategoryRuns", "// 32 * length + category", categories())
emit("kCombiningClassRuns", "// length, class", combining_classes())
emit("kDecompositions", "// distance, 16 * targets + flags (1 compatible, 2 composes, 4 a run), targets",
     decompositions())
emit("kFoldMappings", "// simple case folding: distance, 2 * count + step, distance of the image",
     mapping(fold))
emit("kScriptRuns", "// 8 * length + script: " + ", ".join(SCRIPTS), scripts())
print("// clang-format on")
print()
print("}  // namespace nibble")
