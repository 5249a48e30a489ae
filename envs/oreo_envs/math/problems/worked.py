"""Worked solutions of arithmetic expressions, one operation a step. Knows nothing about problems or grading."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from decimal import Decimal, DecimalException

_OPERATIONS: dict[type[ast.operator], tuple[str, Callable[[Decimal, Decimal], Decimal]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
}


def evaluation_steps(expression: str) -> tuple[str, ...]:
    """Evaluate ``expression`` from the left as precedence and parentheses have it.

    Returns:
        One equation an operation, the last with the value; empty where there is nothing to compute, or where
        something else than exact ``+ - * /`` on decimal numbers is asked for.

    >>> evaluation_steps("2 + 3 * (4 - 6)")
    ('4 - 6 = -2', '3 * -2 = -6', '2 + -6 = -4')
    """
    steps: list[str] = []
    try:
        _evaluate_node(ast.parse(expression.strip(), mode="eval").body, steps)
    except (SyntaxError, ValueError, DecimalException, RecursionError):
        return ()
    return tuple(steps)


def _evaluate_node(node: ast.expr, steps: list[str]) -> Decimal:
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            return Decimal(str(node.value))
        case ast.UnaryOp(op=ast.USub()):
            number = _evaluate_node(node.operand, steps)
            if not isinstance(node.operand, ast.Constant):
                steps.append(f"-({_format_number(number)}) = {_format_number(-number)}")
            return -number
        case ast.BinOp() if type(node.op) in _OPERATIONS:
            sign, compute = _OPERATIONS[type(node.op)]
            left, right = _evaluate_node(node.left, steps), _evaluate_node(node.right, steps)
            result = compute(left, right)
            if sign == "/" and result * right != left:
                raise ValueError("the quotient has no end")
            steps.append(f"{_format_number(left)} {sign} {_format_number(right)} = {_format_number(result)}")
            return result
    raise ValueError("not an expression of + - * /")


def _format_number(number: Decimal) -> str:
    return f"{number.normalize() + 0:f}"  # + 0: no negative zero
