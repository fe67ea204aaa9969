#!/usr/bin/env python3
"""Prints what test_normalizer.cpp expects of Unicode's normal forms: for each form a hash over the
forms of every code point by itself, and one over 20000 strings of a generator.

Usage: python3 tests/make_normal_hashes.py
The data is Python's unicodedata; the tables of the project are of the same version of Unicode.
"""
import unicodedata

MASK = (1 << 64) - 1
# Letters with marks, marks of many classes, jamo and syllables, kana, ligatures, music.
RANGES = ((0x41, 0x5A), (0xC0, 0x17F), (0x300, 0x36F), (0x591, 0x5C7), (0x64B, 0x65F),
          (0x900, 0x963), (0x9BE, 0x9D7), (0xDCA, 0xDDF), (0x1100, 0x1120), (0x1161, 0x1180),
          (0x11A7, 0x11C2), (0x1AB0, 0x1AC0), (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2126, 0x212B),
          (0x3041, 0x309E), (0xAC00, 0xAC80), (0xF900, 0xF920), (0xFB00, 0xFB4E), (0xFDF0, 0xFDFC),
          (0xFE20, 0xFE2F), (0xFF66, 0xFF9F), (0x11099, 0x110BA), (0x1D15E, 0x1D172))


def fnv(state, data):
    for byte in data:
        state = ((state ^ byte) * 0x100000001B3) & MASK
    return state


def strings():
    """Strings of 1 to 8 characters of RANGES, of a linear generator."""
    state = 1
    pool = [c for first, last in RANGES for c in range(first, last + 1)]
    for _ in range(20000):
        out = ""
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK
        for _ in range(1 + (state >> 33) % 8):
            state = (state * 6364136223846793005 + 1442695040888963407) & MASK
            out += chr(pool[(state >> 33) % len(pool)])
        yield out


for form in ("NFC", "NFD", "NFKC", "NFKD"):
    single = 0xCBF29CE484222325
    for c in range(0x110000):
        if not 0xD800 <= c < 0xE000:
            single = fnv(single, unicodedata.normalize(form, chr(c)).encode() + b"\n")
    several = 0xCBF29CE484222325
    for text in strings():
        several = fnv(several, unicodedata.normalize(form, text).encode() + b"\n")
    print(f"{{NormalForm::{form.lower()}, {single:#x}, {several:#x}}},")
