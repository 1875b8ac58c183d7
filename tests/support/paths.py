"""Where the checkout's own files are."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HANDLERS = REPOSITORY / "handlers"
DATA = REPOSITORY / "tests" / "data"
