"""Arithmetic of a function by formula, and what the machine reaches on one large product.

XLA counts the body of a loop once; here products and convolutions inside a scan count as often as
they run. Elementwise work is left out: it is a few per cent of the arithmetic, if not of the time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core


def count_flops(function: Callable[..., Any], *args: Any) -> float:
    """Return the floating-point operations of all products and convolutions of a call.

    Args:
        function: Traced, not run.
        *args: Arrays or their shapes and dtypes.
    """
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            total += _product(equation)
        elif equation.primitive.name == "conv_general_dilated":
            total += _convolution(equation)
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        inner = [j for value in equation.params.values() for j in _jaxprs(value)]
        if equation.primitive.name == "cond":
            total += max(map(_count, inner))
        elif equation.primitive.name.startswith("custom_vjp"):
            total += _count(inner[0])  # the others are rules for gradients, not part of the call
        else:
            total += times * sum(map(_count, inner))
    return total


def _jaxprs(value: Any) -> list[Any]:
    if isinstance(value, core.ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, core.Jaxpr):
        return [value]
    if isinstance(value, list | tuple):
        return [jaxpr for item in value for jaxpr in _jaxprs(item)]
    return []


def _product(equation: Any) -> float:
    """Two operations for each output element and each element contracted for it."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)


def _convolution(equation: Any) -> float:
    kernel, numbers = equation.invars[1].aval.shape, equation.params["dimension_numbers"]
    out_axis = numbers.rhs_spec[0]  # of the kernel: output features, input features, space
    taps = math.prod(kernel) / kernel[out_axis]
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * taps


def reached_flops(dtype: str, width: int) -> float:
    """Return the operations per second of one square product, the best of five."""
    x = jnp.ones((width, width), dtype)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(x, x))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(product(x, x))
        seconds.append(time.perf_counter() - start)
    return 2.0 * width**3 / min(seconds)
