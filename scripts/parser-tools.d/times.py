"""Times jc's parsers: PARSER FILE pairs as arguments; prints the parser and the best of three times in seconds."""

import sys
import time

import jc


def best(parser, text):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        found = jc.parse(parser, text, quiet=True)
        times.append(time.perf_counter() - start)
        if not found:
            raise SystemExit(f"{parser} found nothing")
    return min(times)


arguments = sys.argv[1:]
for parser, file in zip(arguments[::2], arguments[1::2]):
    with open(file, encoding="utf-8") as opened:
        print(parser, f"{best(parser, opened.read()):.6f}")
