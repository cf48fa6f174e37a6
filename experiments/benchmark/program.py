"""The compiled programs of the agent, counted: a figure that no busy machine can blur.

Instructions and fusions of the optimised program say whether a change of the code changed what is
computed. Two checkouts are compared by running the same command in each.
"""

from __future__ import annotations

import argparse
import re
from typing import Any

import numpy as np

from experiments.benchmark.workload import PHASE, build, random_batch, random_values

_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = ", re.MULTILINE)
_FUSION = re.compile(r" fusion\(")


def bench_program(args: argparse.Namespace) -> dict[str, Any]:
    """Count instructions and fusions of one update, and of one policy call for `--batch` rows."""
    compiled = build(args)
    state, carry = compiled.shape(), compiled.initial_carry(args.batch)
    replayed = random_batch(compiled, args.batch, args.length)
    update = compiled.lower_update(PHASE, state, carry, replayed)
    rng, spaces = np.random.default_rng(0), compiled.agent.spaces
    obs = {k: random_values(s, (args.batch,), rng) for k, s in spaces.obs.items()}
    first, acting = np.zeros(args.batch, bool), compiled.initial_acting_carry(args.batch)
    policy = compiled.lower_policy(compiled.acting(compiled.init()), acting, obs, first)
    result = {"operations_before_xla": update.as_text().count("stablehlo.")}
    for name, lowered in (("update", update), ("policy", policy)):
        text = lowered.compile().as_text() or ""
        result[f"{name}_instructions"] = len(_INSTRUCTION.findall(text))
        result[f"{name}_fusions"] = len(_FUSION.findall(text))
    return result
