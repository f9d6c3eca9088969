"""Load a pickle of plain data (numbers, text, bytes, lists, tuples, dicts, None, truth values), no other.

Reference: the `pickle` manual, "Restricting Globals". What differs: the opcodes are walked through before
anything is built, so persistent ids, the extension registry and memo numbers that would ask for gigabytes are
refused as well.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any, NoReturn

from recbole_ext.errors import ConvertError

MAX_BYTES = 1 << 30

# Everything that builds plain data. Missing on purpose: EXT1/2/4 (copyreg hands out its cached objects
# without asking find_class), PERSID/BINPERSID, REDUCE, BUILD, OBJ, NEWOBJ, sets, bytearrays and out-of-band
# buffers.
_PLAIN_NAMES = """
    PROTO FRAME STOP MARK POP POP_MARK DUP PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8
    UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8
    EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS
"""
_PLAIN = frozenset(_PLAIN_NAMES.split())
_GLOBALS = frozenset({"GLOBAL", "STACK_GLOBAL", "INST"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})


def load(path: Path | str, max_bytes: int = MAX_BYTES) -> Any:
    """Return the plain object pickled in `path`; nothing in the file is run, whatever it asks for.

    Pickles of Python 2 load too, as long as their text is ASCII. Lists may be shared by reference,
    so a small file can stand for a long structure: check lengths before flattening.

    Raises:
        ConvertError: the file is missing, larger than `max_bytes`, damaged, or not of plain data only.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise ConvertError(
                f"{path} has {size:,} bytes, more than the {max_bytes:,} that a pickle may have here; "
                "split it into smaller files."
            )
        data = path.read_bytes()
    except OSError as error:
        raise ConvertError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    try:
        _check_opcodes(path, data)
        return _PlainUnpickler(path, data).load()
    except ConvertError:
        raise
    except Exception as error:  # the unpickler answers damage with a dozen kinds of exception
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConvertError(
            f"{path} is not a whole pickle of plain data ({reason[:200].rstrip('.')}); "
            "fetch or write it again."
        ) from error


def _check_opcodes(path: Path, data: bytes) -> None:
    """Raise ConvertError unless all opcodes in `data` are plain, up to its end or to its first global."""
    for opcode, arg, position in pickletools.genops(data):
        name = opcode.name
        if name in _GLOBALS:
            return  # the unpickler stops there too, and its find_class knows which global was meant
        if name not in _PLAIN:
            raise ConvertError(
                f"{path} uses the pickle instruction {name} at byte {position}, which plain numbers, text "
                "and lists never need, so it was not loaded; save the data again as plain lists."
            )
        # Writers number the memo from 0, one number an object; a huge number would only make the unpickler
        # fill memory.
        if name in _PUTS and arg is not None and not 0 <= arg < len(data):
            raise ConvertError(
                f"{path} asks for memo number {arg} at byte {position}, more than the file can hold, so it "
                "was not loaded; fetch or write it again."
            )
        if name == "STOP" and position is not None and position + 1 < len(data):
            raise ConvertError(
                f"{path} goes on for {len(data) - position - 1} bytes after the end of its pickle; "
                "fetch or write it again."
            )


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler that knows no class, no function and no persistent object."""

    def __init__(self, path: Path, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._path = path

    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        hint = "save the data again as plain Python lists and ints"
        if module_name.split(".")[0] == "numpy":
            hint = "call .tolist() on its numpy values and save it again"
        raise ConvertError(
            f"{self._path} asks for {module_name}.{global_name}, which could run code, so it was not "
            f"loaded; {hint}."
        )

    def persistent_load(self, pid: Any) -> NoReturn:
        raise ConvertError(
            f"{self._path} refers to the outside object {pid!r}, so it was not loaded; save it whole."
        )
