"""Conditions on item features, such as `available == 1 and price < 50`: read as Python writes them, never run as code.

A feature is called by its column. A token compares as text and, beside a number, as the text of that number. Against a
missing value every comparison is false, `!=` and `not in` among them. `"a" in tags` asks a sequence.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from recbole_ext.data.shelf import Shelf
from recbole_ext.errors import UsageError

LONGEST = 10_000  # characters of a condition
_ORDER: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_TURNED: dict[type, type] = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}


def matching(condition: str, catalogue: Shelf) -> np.ndarray:
    """(n_items,) bool: the items that meet the condition, never the padding.

    Raises UsageError, in one sentence, for a condition that cannot be read and a feature that there is not.
    """
    if not isinstance(condition, str):
        raise UsageError(
            f"where is {condition!r:.60}: write a condition such as 'available == 1 and price < 50'"
        )
    if len(condition) > LONGEST:
        raise UsageError(
            f"where has {len(condition):,} characters: write at most {LONGEST:,}, or give candidates"
        )
    try:
        tree = ast.parse(condition.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(
            f"where is {condition!r}, which is no condition: write one such as available == 1 and price < 50"
        ) from error
    try:
        found = _truth(tree.body, catalogue)
    except RecursionError as error:
        raise UsageError(
            "where is nested too deeply: write a shorter condition, or give candidates"
        ) from error
    found[0] = False
    return found


def _truth(node: ast.AST, catalogue: Shelf) -> np.ndarray:
    if isinstance(node, ast.BoolOp):
        parts = [_truth(value, catalogue) for value in node.values]
        join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return np.asarray(join.reduce(parts))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_truth(node.operand, catalogue)
    if isinstance(node, ast.Compare):
        found = np.ones(catalogue.item_num, dtype=bool)
        left = node.left
        for sign, right in zip(node.ops, node.comparators):
            found &= _compared(left, sign, right, catalogue)
            left = right
        return found
    raise _unreadable(node)


def _compared(left: ast.AST, sign: ast.cmpop, right: ast.AST, catalogue: Shelf) -> np.ndarray:
    if isinstance(sign, ast.In | ast.NotIn):
        return _contained(left, isinstance(sign, ast.In), right, catalogue)
    if isinstance(right, ast.Name) and not isinstance(left, ast.Name):  # 50 > price
        left, right, sign = right, left, _TURNED.get(type(sign), type(sign))()
    if not isinstance(left, ast.Name):
        raise _unreadable(left)
    column, value = catalogue.column(left.id), _constant(right)
    if isinstance(sign, ast.Eq):
        return _equal(column, value, left.id)
    if isinstance(sign, ast.NotEq):
        return _known(column) & ~_equal(column, value, left.id)
    if type(sign) not in _ORDER:
        raise _unreadable(right)
    numbers = column if column.dtype.kind == "f" else _numbers(column, left.id)
    if isinstance(value, str):
        raise UsageError(f"where compares {left.id} with {value!r} by order: write a number")
    with np.errstate(invalid="ignore"):
        return np.asarray(_ORDER[type(sign)](numbers, value))


def _contained(left: ast.AST, inside: bool, right: ast.AST, catalogue: Shelf) -> np.ndarray:
    if isinstance(left, ast.Name) and isinstance(right, ast.List | ast.Tuple | ast.Set):
        column = catalogue.column(left.id)
        found = np.zeros(catalogue.item_num, dtype=bool)
        for element in right.elts:
            found |= _equal(column, _constant(element), left.id)
        return found if inside else _known(column) & ~found
    if isinstance(right, ast.Name):
        column = catalogue.column(right.id)
        if not isinstance(column[-1], tuple):
            raise UsageError(f"where looks into {right.id}, which is no sequence: write {right.id} == …")
        value = _constant(left)
        found = np.array([_holds(values, value) for values in column], dtype=bool)
        return found if inside else _known(column) & ~found
    raise _unreadable(right)


def _holds(values: Sequence[Any], value: float | str) -> bool:
    return any(one == (value if isinstance(one, float | int) else _as_text(value)) for one in values)


def _equal(column: np.ndarray, value: float | str, name: str) -> np.ndarray:
    if len(column) > 1 and isinstance(column[-1], tuple):
        raise UsageError(f"where compares {name}, a sequence: write 'a value' in {name}")
    if column.dtype.kind == "f":
        if isinstance(value, str):
            raise UsageError(f"where compares {name}, a column of numbers, with {value!r}: write a number")
        return np.asarray(column == value)
    return np.asarray(column == _as_text(value), dtype=bool) & (column != "")


def _known(column: np.ndarray) -> np.ndarray:
    if column.dtype.kind == "f":
        return ~np.isnan(column)
    return np.array([bool(value) for value in column])


def _numbers(column: np.ndarray, name: str) -> np.ndarray:
    """Tokens that are numbers, nan for the unknown ones."""
    if len(column) > 1 and isinstance(column[-1], tuple):
        raise UsageError(f"where compares {name}, a sequence, by order: write 'a value' in {name}")
    try:
        return np.array([float(value) if value else np.nan for value in column])
    except ValueError as error:
        raise UsageError(f"where compares {name} by order, which holds names: write == or in") from error


def _as_text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def _constant(node: ast.AST) -> float | str:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _constant(node.operand)
        if isinstance(value, int | float):
            return -value
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
        return int(node.value) if isinstance(node.value, bool) else node.value
    raise _unreadable(node)


def _unreadable(node: ast.AST) -> UsageError:
    text = ast.unparse(node)
    return UsageError(
        f"where cannot read {text[:60]!r}: write comparisons of a feature with a value, joined by and, or, not"
    )
