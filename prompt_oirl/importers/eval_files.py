"""Files of inspect_ai's .eval format: a zip of JSON, packed with deflate or zstd."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prompt_oirl.io.extras import missing
from prompt_oirl.io.files import InputError, on_one_line, require
from prompt_oirl.io.json_files import parse_json
from prompt_oirl.io.table_formats import LARGEST_UNPACKED

HINT = "give logs of inspect_ai, .eval or .json"
_ZSTD = 93  # the zip method
_PACKED_TO = 40  # bytes that a byte of a large log may unpack to; of real ones it is 4 to 12
_MOST_VALUES = 10_000_000  # of one sample; each takes some 60 bytes of memory, however few in the file
_AS_JSON = "turn it into JSON with `inspect log convert FILE --to json --output-dir DIR`"


def members(path: Path) -> Iterator[tuple[str, Any]]:
    """Names and JSON of the header, the journal's start and the samples.

    Raises: InputError on a file that is damaged, too large, or packed in a way that can't be read here.
    """
    require(path, HINT)
    try:
        with zipfile.ZipFile(path) as archive:
            # A log that was continued holds some names twice: the last counts.
            infos = [
                archive.getinfo(n)
                for n in dict.fromkeys(archive.namelist())
                if n in ("header.json", "_journal/start.json") or n.startswith("samples/")
            ]
            limit = max(LARGEST_UNPACKED, _PACKED_TO * sum(info.compress_size for info in infos))
            if sum(info.file_size for info in infos) > limit:
                raise InputError(
                    f"{path}: unpacks to more than {limit:,} bytes; {_AS_JSON}, or take samples out"
                )
            for info in infos:
                name = on_one_line(info.filename, 200)
                if info.file_size > LARGEST_UNPACKED:
                    raise InputError(
                        f"{path}: {name} unpacks to more than {LARGEST_UNPACKED:,} bytes; take it out"
                    )
                data = _zstd_member(path, info) if info.compress_type == _ZSTD else archive.read(info)
                if sum(map(data.count, (b",", b"[", b"{"))) > _MOST_VALUES:  # a value each, at most
                    raise InputError(
                        f"{path}: {name} holds more than {_MOST_VALUES:,} values; {_AS_JSON}, or take it out"
                    )
                yield name, parse_json(data)
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    except (NotImplementedError, RuntimeError, RecursionError, OverflowError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: not a whole .eval file ({on_one_line(str(error), 100)}); {HINT}")


def _zstd_member(path: Path, info: zipfile.ZipInfo) -> bytes:
    """A member packed with zstd, which Python before 3.14 cannot unpack."""
    try:
        import zstandard
    except ImportError:
        raise missing(f"{path}: packed with zstd", "import", f", or {_AS_JSON}") from None
    with path.open("rb") as file:
        file.seek(info.header_offset)
        name_length, extra_length = struct.unpack("<26xHH", file.read(30))
        file.seek(name_length + extra_length, 1)
        packed = file.read(info.compress_size)
    try:
        with zstandard.ZstdDecompressor().stream_reader(packed) as reader:
            data = reader.read(info.file_size)
    except zstandard.ZstdError as error:
        raise _damaged(path, error) from error
    if zlib.crc32(data) != info.CRC:
        raise _damaged(path, ValueError(f"{info.filename} does not match its checksum"))
    return data
