"""The handbook's pages as the tests read them: fenced blocks, commands with what they print, links.

```console holds commands behind `$ ` (continued behind `> `), each followed by its whole output. In an output, `...`
stands for any text within a line, and a line that is `...` for any lines. ```sh holds commands that no test can run;
its first line says why.
"""

import re
from pathlib import Path
from typing import NamedTuple

from support.paths import REPOSITORY

PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted(REPOSITORY.glob("docs/*.md")),
         *sorted(REPOSITORY.glob("examples/**/*.md"))]
KINDS = {"console", "sh", "yaml", "toml", "json", "nginx", "python", "jinja", "text"}
NOT_RUN = "# Not run by the tests: "

_BLOCK = re.compile(r"^```(?P<kind>\S*)[^\n]*\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """One fenced block; `line` is that of its first line of text."""

    page: str
    line: int
    kind: str
    text: str


class Step(NamedTuple):
    """One command of a console block, and the output that the page shows."""

    where: str
    command: str
    shown: str


def blocks(page: Path, *kinds: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    name = str(page.relative_to(REPOSITORY))
    found = [Block(name, text.count("\n", 0, match.start()) + 2, match["kind"], match["text"])
             for match in _BLOCK.finditer(text)]
    return [block for block in found if not kinds or block.kind in kinds]


def steps(block: Block) -> list[Step]:
    """Raise ValueError for a block that does not begin with a command."""
    found: list[Step] = []
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        if line.startswith("$ "):
            found.append(Step(f"{block.page}:{number}", line[2:], ""))
        elif not found:
            raise ValueError(f"{block.page}:{number}: a console block has to begin with a command behind `$ `")
        elif line.startswith("> ") and not found[-1].shown:
            found[-1] = found[-1]._replace(command=f"{found[-1].command}\n{line[2:]}")
        else:
            found[-1] = found[-1]._replace(shown=f"{found[-1].shown}{line}\n")
    return found


def matches(shown: str, printed: str) -> bool:
    """Compare line by line; white space at the end of a line does not count."""
    pattern = "".join(r"(?:[^\n]*\n)*?" if line.strip() == "..." else
                      r"[^\n]*?".join(map(re.escape, line.rstrip().split("..."))) + r"[ \t]*\n"
                      for line in shown.splitlines())
    return bool(re.fullmatch(pattern, printed if printed.endswith("\n") or not printed else printed + "\n"))


def without_blocks(page: Path) -> str:
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """The targets that are in the repository: paths and anchors."""
    return [link for link in _LINK.findall(without_blocks(page)) if "://" not in link]


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def sentences(page: Path) -> list[str]:
    """Those of running text; an item of a list is one of its own, and tables are left out."""
    text = re.sub(r"`[^`\n]*`", "CODE", _LINK.sub(lambda match: match[0][1:].split("]")[0], without_blocks(page)))
    lines = [f"\n{line}" if re.match(r"#|[-*] |\d+\. |$", line) else line for line in text.splitlines()
             if not line.startswith("|")]
    paragraphs = re.split(r"\n+", " ".join(line if line.startswith("\n") else line.strip() for line in lines))
    found = [sentence.strip() for each in paragraphs for sentence in re.split(r"(?<=[.!?])\s+", each)]
    return [sentence for sentence in found if sentence]


def table(page: Path, heading: str) -> list[list[str]]:
    """The cells of the one table below a heading, its own head left out; code marks are taken off."""
    text = page.read_text(encoding="utf-8")
    _, found, rest = text.partition(f"\n{heading}\n")
    if not found:
        raise ValueError(f"{page.name} has no heading {heading!r}")
    section = re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    return [[cell.strip("`") if cell.count("`") == 2 else cell for cell in row] for row in cells[2:]]
