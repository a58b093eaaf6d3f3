"""Expressions that choose pictures by what their source says of them: `rating == 's' and score >= 10`."""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

LONGEST = 10_000  # characters: a list of tags may be long, a program may not
_ALLOWED = "names, numbers, texts, lists of them, and or not in == != < <= > >= and brackets"


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """The comparison, False where something is missing or the kinds do not go together."""

    def compared(left: Any, right: Any) -> bool:
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        texts = isinstance(left, str) and isinstance(right, str)
        return (numbers or texts) and compare(left, right)

    return compared


def _contains(left: Any, right: Any) -> bool:
    """Whether left is one of right: of a list, of the words of a text."""
    words = right.split() if isinstance(right, str) else right
    return isinstance(words, list | tuple) and left in words


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: _contains,
    ast.NotIn: lambda left, right: not _contains(left, right),
}


def parse_expression(text: str) -> ast.expr | None:
    """The expression as a tree of allowed nodes, None for an empty text.

    ValueError, naming the piece, for anything but names, literals, and, or, not and comparisons: no call, no attribute,
    no arithmetic can be written, so a manifest of somebody else cannot run anything.
    """
    if not text.strip():
        return None
    if len(text) > LONGEST:
        raise ValueError(f"an expression of {len(text):,} characters: {LONGEST:,} at most")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        _check(tree, text)
    except SyntaxError as error:
        raise ValueError(f"{text!r} is no expression: {error.msg} at character {error.offset}") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError("the expression has too many brackets inside each other") from error
    return tree


def is_wanted(text: str, facts: Mapping[str, Any]) -> bool:
    """Whether the expression holds for these facts; an empty one always does.

    A name that the facts lack is None: equal to nothing but None, and neither above nor below anything. `in` looks
    through a list, or through the words of a text (`'1girl' in tags`).
    """
    tree = _parsed(text)
    return tree is None or bool(_value(tree, facts))


def names_in(text: str) -> set[str]:
    """The names that an expression asks for."""
    tree = _parsed(text)
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} if tree else set()


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> ast.expr | None:
    return parse_expression(text)


def _check(tree: ast.expr, text: str) -> None:
    for node in ast.walk(tree):
        literal = isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None)
        negative = isinstance(node, ast.USub | ast.Not | ast.And | ast.Or | ast.Load)
        compound = isinstance(node, ast.Name | ast.List | ast.Tuple | ast.BoolOp | ast.UnaryOp | ast.Compare)
        if not (literal or negative or compound or type(node) in _COMPARISONS):
            piece = ast.get_source_segment(text.strip(), node) or type(node).__name__
            raise ValueError(f"{piece!r} may not stand in an expression: only {_ALLOWED}")
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            operand = node.operand
            if not (isinstance(operand, ast.Constant) and isinstance(operand.value, int | float)):
                raise ValueError(f"a minus stands before a number only, not before {ast.unparse(operand)!r}")


def _value(node: ast.expr, facts: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return facts.get(node.id)
        case ast.List() | ast.Tuple():
            return [_value(item, facts) for item in node.elts]
        case ast.BoolOp():
            return _any_or_all(node)(bool(_value(item, facts)) for item in node.values)
        case ast.UnaryOp(op=ast.Not()):
            return not _value(node.operand, facts)
        case ast.UnaryOp():
            return -_value(node.operand, facts)
        case ast.Compare():
            return _holds(node, facts)
    raise AssertionError(ast.dump(node))


def _any_or_all(node: ast.BoolOp) -> Callable[[Any], bool]:
    return all if isinstance(node.op, ast.And) else any


def _holds(node: ast.Compare, facts: Mapping[str, Any]) -> bool:
    values = [_value(item, facts) for item in (node.left, *node.comparators)]
    pairs = zip(node.ops, values, values[1:], strict=False)
    return all(_COMPARISONS[type(operator_)](left, right) for operator_, left, right in pairs)
