"""Where the checkout's own files are."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HANDLERS = REPOSITORY / "handlers"
DATA = REPOSITORY / "tests" / "data"


def text_of(path: str) -> str:
    """Read a file that has to be there."""
    return Path(path).read_text(encoding="utf-8")
