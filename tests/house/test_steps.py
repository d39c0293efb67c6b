"""What reads the pages of docs/changing takes each for what it says, and makes no edit by guess."""

from pathlib import Path

import pytest

from tests.support.house.steps import Edit, EditError, Step, apply, steps_of

PAGE = """# A thing

## 1. Tests

```diff
+++ new.py
+one
+
+two
```

## 2. The thing

Words with `names` in them.

```diff
+++ a.py
@@
 x
-y
+z
@@
+first
 last
+++ b.py
 b
+c
```

```sh
.venv/bin/python write.py
```

Fails until then: `tests/a.py::test_one`,
`tests/b.py`.

## Beyond

```diff
+++ never.py
+no
```
"""


def test_a_page_is_a_row_of_steps() -> None:
    assert steps_of(PAGE) == [
        Step("1. Tests", (Edit("new.py", "", "one\n\ntwo\n"),), (), ()),
        Step(
            "2. The thing",
            (
                Edit("a.py", "x\ny\n", "x\nz\n"),
                Edit("a.py", "last\n", "first\nlast\n"),
                Edit("b.py", "b\n", "b\nc\n"),
            ),
            (".venv/bin/python write.py",),
            ("tests/a.py::test_one", "tests/b.py"),
        ),
    ]


def test_an_edit_is_made_where_it_fits_and_nowhere_else(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x\ny\nxx\ny\n")
    apply(tmp_path, Edit("a.py", "x\ny\n", "x\nz\n"))
    assert file.read_text() == "x\nz\nxx\ny\n"
    apply(tmp_path, Edit("b.py", "", "new\n"))
    assert (tmp_path / "b.py").read_text() == "new\n"


@pytest.mark.parametrize(
    "edit",
    [Edit("a.py", "x\n", ""), Edit("a.py", "z\n", ""), Edit("a.py", "", "x\n"), Edit("b", "x", "")],
)
def test_an_edit_that_does_not_fit_is_refused(tmp_path: Path, edit: Edit) -> None:
    (tmp_path / "a.py").write_text("x\nx\n")
    with pytest.raises(EditError):
        apply(tmp_path, edit)


@pytest.mark.parametrize("text", ["x\n", "@@\n", "+++ a\n@ 3\n"])
def test_what_is_no_edit_is_refused(text: str) -> None:
    with pytest.raises(EditError):
        steps_of(f"## 1. It\n\n```diff\n{text}```\n")
