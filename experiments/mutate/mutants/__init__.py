"""The mistakes, by subject: one file each.

A mistake is worth a place here if somebody could make it without noticing: training would still
run, and the losses would still fall.
"""

from __future__ import annotations

from experiments.mutate.mutants import (
    behavior,
    evaluation,
    files,
    losses,
    masks,
    metrics,
    network,
    optimizer,
    replay,
    resume,
    returns,
    security,
    seeds,
)
from experiments.mutate.plant import Mutant

MUTANTS: dict[str, tuple[Mutant, ...]] = {
    "losses": losses.MUTANTS,
    "behavior": behavior.MUTANTS,
    "returns": returns.MUTANTS,
    "masks": masks.MUTANTS,
    "optimizer": optimizer.MUTANTS,
    "seeds": seeds.MUTANTS,
    "replay": replay.MUTANTS,
    "resume": resume.MUTANTS,
    "metrics": metrics.MUTANTS,
    "evaluation": evaluation.MUTANTS,
    "network": network.MUTANTS,
    "files": files.MUTANTS,
    "security": security.MUTANTS,
}
