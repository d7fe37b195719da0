"""Packages that not everyone needs: which extra of prompt-oirl brings them, said where one is missing."""

from __future__ import annotations

from importlib.util import find_spec

from prompt_oirl.io.files import InputError

EXTRAS = {
    "boost": ("lightgbm", "xgboost"),
    "dask": ("dask", "distributed"),
    "import": ("openpyxl", "zstandard"),
    "large": ("datasketch",),
    "llm": ("anyio", "networkx", "openai", "sentence_transformers", "sentencepiece", "torch", "transformers"),
    "math": ("math_verify",),
    "parquet": ("pyarrow",),
    "plots": ("matplotlib",),
    "report": ("tensorboard",),
    "serve": ("httpx", "prometheus_client", "starlette", "uvicorn"),
    "train": ("accelerate", "bitsandbytes", "h5py", "nltk", "peft"),
}


def missing(what: str, extra: str, otherwise: str = "") -> InputError:
    """The error, one line, where a package is not installed.

    Parameters
    ----------
    what : needs which package, such as "--dask needs Dask"
    extra : brings it
    otherwise : what else to do, such as ", or save the sheet as .csv"
    """
    return InputError(f"{what}: pip install 'prompt-oirl[{extra}]'{otherwise}")


def need(what: str, extra: str, *modules: str) -> None:
    """Raise `missing` if one of the extra's modules is not installed.

    Parameters
    ----------
    what : needs it, such as "--model xgboost"
    extra : brings the modules
    modules : to look for; default: all of the extra
    """
    absent = [name for name in modules or EXTRAS[extra] if find_spec(name) is None]
    if absent:
        raise missing(f"{what} needs {', '.join(absent)}", extra)


def explained(error: ModuleNotFoundError) -> InputError | None:
    """The same as the error, with the extra that brings the module; None where none does."""
    module = (error.name or "").split(".")[0]
    extra = next((extra for extra, modules in EXTRAS.items() if module in modules), None)
    return missing(f"{module} is not installed", extra) if extra else None
