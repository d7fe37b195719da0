"""`atomic_write` is the only way to a file: no module opens one to write, but where a line says why."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from prompt_oirl.io.files import REPO_ROOT

PRODUCT = ("prompt_oirl", "llama_exps", "opro_exps", "alol_exps")
# Names of methods and functions that write, and the place of their path: of a method before the dot.
WRITERS = {
    *("write_text", "write_bytes", "to_csv", "to_parquet", "to_json", "to_excel", "savefig", "save_file"),
    *("save", "savez", "savez_compressed", "savetxt", "tofile", "dump", "save_pretrained", "copy2", "copy"),
    *("copyfile", "copytree", "move", "write_table"),
}
# Other writers, each for a reason.
ALLOWED = {
    ("alol/models/checkpoints.py", "save_pretrained"): "a whole folder, made beside the old one and renamed",
    ("alol/rewards/critic_weights.py", "save_pretrained"): "as above",
    ("llms/random_llama.py", "save_pretrained"): "a folder for benchmarks",
    ("llms/smollm2.py", "save_pretrained"): "a folder that is renamed when whole",
    ("llms/meta_checkpoint.py", "write_bytes"): "into a temporary folder",
    ("selection/update.py", "copy2"): "a folder that is renamed when whole",
    ("opro/proposals.py", "open"): "appends lines; a torn one is cut off",
    ("opro/shared_log.py", "open"): "appends lines; and locks",
    ("llms/generation.py", "open"): "appends lines; a torn one is cut off",
    ("io/manifest.py", "open"): "the null device",
    ("io/peak_memory.py", "write_text"): "no file: it tells Linux to count anew",
    ("data/log_store.py", "open"): "cuts a torn line off",
    ("pipeline/original_layout.py", "save"): "into memory",
    ("serving/served_log.py", "open"): "appends lines; a torn one is left out",
}


def modules() -> Iterator[Path]:
    for folder in PRODUCT:
        yield from sorted((REPO_ROOT / folder).rglob("*.py"))


def writes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each call that may write to a path that no `atomic_write` gave."""
    given = {
        item.optional_vars.id
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        for item in node.items
        if isinstance(item.optional_vars, ast.Name)
        and isinstance(item.context_expr, ast.Call)
        and (name_of(item.context_expr) == "atomic_write" or of_given(item.context_expr))
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, names = name_of(node), {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        writing = name in WRITERS and is_file_call(node, name)
        if (writing or (name == "open" and opens_to_write(node))) and not names & given:
            yield node.lineno, name


def name_of(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def of_given(call: ast.Call) -> bool:
    return name_of(call) == "open" and isinstance(call.func, ast.Attribute) and "temporary" in ast.dump(call)


def is_file_call(call: ast.Call, name: str) -> bool:
    """`model.save(...)` of ours and `frame.copy()` write nothing by themselves, `np.save` and `shutil` do."""
    owner = getattr(getattr(call.func, "value", None), "id", "")
    if name in ("copy", "copytree", "move", "copyfile", "copy2"):
        return owner == "shutil"
    if name in ("save", "dump", "savez", "savez_compressed", "savetxt"):
        return owner in ("np", "numpy", "torch", "json", "pickle", "joblib")
    if name == "write_table":
        return owner == "pq"
    if name in ("write_text", "write_bytes"):  # of a path; the function is ours
        return isinstance(call.func, ast.Attribute)
    return not (name in ("to_csv", "to_json") and not call.args)  # without a path they give a text


def opens_to_write(call: ast.Call) -> bool:
    """Whether the mode holds w, a, x or +; `open(path, mode)`, `path.open(mode)`, `os.open(path, flags)`."""
    if getattr(getattr(call.func, "value", None), "id", "") == "os":
        return "O_RDONLY" not in ast.dump(call)
    at = 0 if isinstance(call.func, ast.Attribute) else 1
    modes = [*call.args[at : at + 1], *(k.value for k in call.keywords if k.arg == "mode")]
    return any(isinstance(m, ast.Constant) and set("wax+") & set(str(m.value)) for m in modes)


def test_every_writer_is_atomic_write_or_says_why_not() -> None:
    found = {
        (path.relative_to(REPO_ROOT).as_posix().removeprefix("prompt_oirl/"), name): line
        for path in modules()
        if path.name != "files.py"
        for line, name in writes(ast.parse(path.read_bytes()))
    }
    assert {place: found[place] for place in found.keys() - ALLOWED} == {}
    assert ALLOWED.keys() - found == set(), "no longer needed"


@pytest.mark.parametrize(
    "source",
    [
        "open('x', 'w')",
        "path.open('ab')",
        "os.open(path, os.O_WRONLY | os.O_CREAT)",
        "path.open(mode='r+')",
        "path.write_text('x')",
        "frame.to_csv(path)",
        "np.save(path, a)",
        "shutil.copyfile(a, b)",
        "figure.savefig(path)",
    ],
)
def test_the_walk_sees_a_writer(source: str) -> None:
    assert [line for line, _ in writes(ast.parse(source))] == [1]
    assert not list(writes(ast.parse("with atomic_write(p) as temporary:\n    temporary.write_text('x')")))
    assert not list(writes(ast.parse("open('x'); frame.to_csv(index=False); frame.copy()")))
