"""fairseq's `conv_feature_layers` and the like: Python text that is read, never run."""

import ast
from typing import Any

from speechssl.errors import CheckpointError

_MOST_CONVOLUTIONS = 64
_LONGEST_TEXT = 10_000


def parse_conv_layers(text: object, *, where: str) -> list[list[int]]:
    """fairseq's `conv_feature_layers`, Python text such as `[(512, 10, 5)] + [(512, 3, 2)] * 4`, without running it."""
    try:
        if isinstance(text, str) and len(text) > _LONGEST_TEXT:
            raise ValueError("too long")
        layers = _arithmetic(ast.parse(text.strip(), mode="eval").body) if isinstance(text, str) else text
        triples = [list(layer) for layer in layers]  # type: ignore[union-attr]
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError, OverflowError) as error:
        raise CheckpointError(f"{where}: conv_feature_layers {str(text)[:80]!r} is not a list of triples") from error
    if not triples or any(len(t) != 3 or any(type(v) is not int for v in t) for t in triples):
        raise CheckpointError(f"{where}: conv_feature_layers {str(text)[:80]!r} is not a list of triples")
    return triples


def _arithmetic(node: ast.expr) -> Any:
    """Integers, lists and tuples, `+` and `*`: nothing else, and nothing large."""
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_arithmetic(item) for item in items]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            result = _arithmetic(left) + _arithmetic(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            a, b = _arithmetic(left), _arithmetic(right)
            a, b = (b, a) if isinstance(a, int) else (a, b)
            if not isinstance(a, list) or not isinstance(b, int) or not 0 <= b <= _MOST_CONVOLUTIONS:
                raise ValueError("a list times a small integer")
            result = a * b
        case _:
            raise ValueError(f"not allowed here: {ast.dump(node)[:80]}")
    if not isinstance(result, list) or len(result) > _MOST_CONVOLUTIONS:
        raise ValueError("too long")
    return result
