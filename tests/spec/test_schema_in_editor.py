"""The schema in an editor: its language server takes each spec of this repository, and refuses what `validate` does."""

import contextlib
import json
import os
from collections.abc import Iterator

import pytest

from lictor import errors
from lictor.spec import spec_file

from lab import forked
from lab.daemon import wait_for
from support.editor import Editor
from support.paths import REPOSITORY
from support.spec_files import LEAST, RULES, TAKEN, WRONG, is_beyond_schemas, list_specs, whole

# Forms of YAML that the language server's own reader understands, and keeps from the schema.
FORGIVEN = ("'tag:yaml.org,2002:set'", "'\\ud800'", "holds << without", "labels: &a", "YAML does not allow")

pytestmark = pytest.mark.daemons


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    path = tmp_path_factory.mktemp("schema") / "lictor.json"
    path.write_text(forked.lictor(["schema"], environ=os.environ).stdout)
    with Editor(path) as found:
        yield found


def test_an_editor_takes_every_spec_of_the_repository(editor: Editor) -> None:
    texts = {path.name: path.read_text() for path in (REPOSITORY / "examples").rglob("*.yaml")}
    texts |= {f"taken {number}": whole(text) for number, text in enumerate(TAKEN)}
    texts |= {f"spec {number}": json.dumps(table) for number, table in enumerate(list_specs())}
    assert len(texts) > 100
    assert {texts[name]: said for name, said in editor.judge(texts).items() if said} == {}


def test_an_editor_refuses_what_validate_refuses(editor: Editor) -> None:
    texts = {f"wrong {number}": LEAST + text for number, (text, said) in enumerate(WRONG)
             if not is_beyond_schemas(text, said) and not any(each in text + said for each in FORGIVEN)
             and len(text) < 500}
    texts |= {f"rule {number}": whole(text) for number, text in enumerate(RULES)}
    for text in texts.values():
        with pytest.raises(errors.Refused):
            spec_file.load(text, "/srv/books/books.yaml")
    assert len(texts) > 80

    def is_each_refused() -> bool:
        for name, said in editor.judge(texts).items():
            if said:
                del texts[name]
        return not texts

    with contextlib.suppress(AssertionError):
        wait_for(is_each_refused, "each is refused", 60)
    assert [*texts.values()] == []
