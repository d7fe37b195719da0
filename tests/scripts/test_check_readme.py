"""What the pages show is what their commands print: cells of a notebook share their variables."""

from __future__ import annotations

from pathlib import Path

import pytest
from check_readme import Args, blocks_of, main

PAGE = """
<!-- cell: sums -->
```python
x = 20 + 1
print("x is", x)
```

<!-- cell: sums -->
```text
x is 21
```

<!-- prints: echo said -->
```text
said
```

```text
only shown
```

<!-- cell: sums -->
```python
print(f"{2 * x}.01 in all")
```

<!-- cell: sums -->
```text
42.00
in all
```

```bash
echo one
echo two
```
"""


def test_cells_of_a_notebook_are_one_block() -> None:
    found = [(block.language, block.body, block.prints) for block in blocks_of(PAGE)]
    cells = 'x = 20 + 1\nprint("x is", x)\nprint(f"{2 * x}.01 in all")\n'
    assert found == [
        ("python", cells, "x is 21\n42.00\nin all\n"),
        ("bash", "echo said", "said\n"),
        ("bash", "echo one\necho two\n", None),
    ]


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        ("", "", "4 passed, 0 failed, 0 skipped"),
        ("x is 21", "x is 25", "3 passed, 1 failed, 0 skipped"),
        ("x = 20", "x = y", "3 passed, 1 failed, 0 skipped"),
        ("\nsaid\n", "\nsung\n", "3 passed, 1 failed, 0 skipped"),
    ],
)
def test_a_page_is_run(
    before: str, after: str, counts: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace(before, after) if before else PAGE)
    if "0 failed" in counts:
        main(Args(pages=(page,)))
    else:
        with pytest.raises(SystemExit):
            main(Args(pages=(page,)))
    assert capsys.readouterr().out.splitlines()[-1] == counts
