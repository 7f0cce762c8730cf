"""The worked examples of docs/python.md run as they stand there."""

import pathlib
import re

import pytest

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "python.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_there_are_three_worked_examples():
    assert len(EXAMPLES) >= 3 and sum("torch" in example for example in EXAMPLES) >= 2


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example_runs(number, request, tmp_path, monkeypatch):
    if "torch" in EXAMPLES[number]:
        request.getfixturevalue("torch")
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLES[number], f"{PAGE.name}, example {number + 1}", "exec"), {"__name__": "example"})


def test_the_paradox_script_runs(capsys):
    import runpy

    script = runpy.run_path(str(PAGE.parents[1] / "python" / "examples" / "paradox.py"))
    script["main"](epochs=1, limit=20)
    told = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0].strip() for line in told] == list(script["WAYS"])
