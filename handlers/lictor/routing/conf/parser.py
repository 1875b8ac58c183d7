"""Words and blocks of nginx's configuration language. Pure."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = re.compile(r"""
    (?: \s+ | \#[^\n]* )*+
    (?P<token> [{};] | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | (?:\\.|\$\{[^}]*\}|[^\s{};\\])+ | \Z )
    """, re.DOTALL | re.VERBOSE)
_LUA = re.compile(r"_by_lua_block\s*\{")
_LUA_PART = re.compile(r"""--\[(=*)\[.*?\]\1\] | --[^\n]* | \[(=*)\[.*?\]\2\] | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' |
                           (?P<brace> [{}])""", re.DOTALL | re.VERBOSE)  # braces in a comment or a text are none


class Directive(NamedTuple):
    """A directive with its words, and what is in its block; `place` is where it ends or its block begins, FILE:LINE."""

    words: list[str]
    place: str
    block: "list[Directive] | None"  # None: it has none

    def find(self, name: str) -> "list[Directive]":
        return [each for each in self.block or () if each.words[:1] == [name]]

    @property
    def arguments(self) -> list[str]:
        return self.words[1:]


def tokens(text: str) -> Iterator[tuple[str, int]]:
    """Yield words and signs, each with its position; raises ValueError where the text cannot be read."""
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            raise ValueError(f"cannot be read at {text[position:position + 40]!r}")
        position = match.end()
        if match["token"]:
            yield match["token"], position


def directives(text: str, path: str = "") -> list[Directive]:
    """Parse a whole file, without what is Lua in it; raises ValueError for what nginx would not read either."""
    found: list[Directive] = []
    open_blocks, words = [found], list[str]()
    without_lua, line, counted = _without_lua(text), 1, 0
    for token, position in tokens(without_lua):
        line, counted = line + without_lua.count("\n", counted, position), position
        if token not in ("{", "}", ";"):
            words.append(token[1:-1] if token[0] in "\"'" else token)
        elif token == "}":
            if words or len(open_blocks) == 1:
                raise ValueError(f"stray }} in line {line}")
            open_blocks.pop()
        else:
            block: list[Directive] | None = [] if token == "{" else None
            open_blocks[-1].append(Directive(words, f"{path}:{line}", block))
            words = []
            if block is not None:
                open_blocks.append(block)
    if words or len(open_blocks) > 1:
        raise ValueError("it ends within a block")
    return found


def _without_lua(text: str) -> str:
    """Empty the blocks of Lua, whose words are others; their lines stay."""
    position = 0
    while match := _LUA.search(text, position):
        depth, position, end = 1, match.end(), len(text)
        for part in _LUA_PART.finditer(text, position):
            depth += {"{": 1, "}": -1}.get(part["brace"], 0)
            if not depth:
                end = part.start()
                break
        text = text[:position] + "\n" * text.count("\n", position, end) + text[end:]
    return text
