"""Learning curves of a sweep, `curves.png`: a panel per task, a colour per variant.

Thin lines are single seeds. The thick one is their mean and the band reaches from the lowest to the
highest seed; both end where the first of them ends, so that no point mixes fewer seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dreamer_jax.files import replacing
from dreamer_jax.runtime.saving.rundir import RunDir
from dreamer_jax.runtime.showing.media import MissingPackage
from dreamer_jax.runtime.showing.metrics import read_rows
from experiments.sweep.plan import Run
from experiments.sweep.progress import has_score

_POINTS = 100  # of the mean
_SMOOTHED = 40  # points of one seed; more rows are averaged down to that
_MOST_COLUMNS = 4

Curve = tuple[np.ndarray, np.ndarray]


def read_curve(run: Run) -> Curve:
    """Return env steps and scores of a run's training episodes, smoothed."""
    metrics = RunDir(run.logdir).metrics
    rows = [row for row in read_rows(metrics) if has_score(row)] if metrics.is_file() else []
    steps = np.array([row["env_steps"] for row in rows], float)
    scores = np.array([row["episode/score"] for row in rows], float)
    pieces = min(len(rows), _SMOOTHED)
    if not pieces:
        return steps, scores
    mean = lambda values: np.array([part.mean() for part in np.array_split(values, pieces)])
    return mean(steps), mean(scores)


def band(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return steps, mean, lowest and highest score where every curve has values."""
    start, end = max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves)
    grid = np.linspace(start, end, _POINTS) if end > start else np.array([])
    values = np.stack([np.interp(grid, steps, scores) for steps, scores in curves])
    return grid, values.mean(0), values.min(0), values.max(0)


def draw_curves(path: Path, runs: Sequence[Run]) -> None:
    """Draw the training scores of all runs over simulator steps.

    Args:
        path: Target `.png`, replaced when the picture is whole.
        runs: Those without scores are left out.

    Raises:
        MissingPackage: If Matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import EngFormatter
    except ImportError as error:
        remedy = "pip install 'dreamer-jax[media]'"
        raise MissingPackage(f"learning curves need Matplotlib: {remedy}") from error
    tasks = list(dict.fromkeys(run.task for run in runs))
    variants = list(dict.fromkeys(run.variant for run in runs))
    columns = min(len(tasks), _MOST_COLUMNS)
    rows = math.ceil(len(tasks) / columns)
    figure = Figure(figsize=(4.5 * columns + 1, 3.5 * rows), dpi=100, layout="constrained")
    for number, task in enumerate(tasks):
        axes = figure.add_subplot(rows, columns, number + 1)
        for colour, variant in enumerate(variants):
            mine = [run for run in runs if (run.task, run.variant) == (task, variant)]
            _draw(axes, [read_curve(run) for run in mine], f"C{colour}", variant)
        axes.set_title(task, fontsize="medium")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize="small")
    figure.supxlabel("environment steps (action repeat included)")
    figure.supylabel("score of training episodes")
    with replacing(path) as temp:
        FigureCanvasAgg(figure).print_png(str(temp))


def _draw(axes: Any, curves: Sequence[Curve], colour: str, variant: str) -> None:
    curves = [curve for curve in curves if len(curve[0])]
    if not curves:
        return
    for steps, scores in curves:
        mark = "." if len(steps) == 1 else ""  # a line through one point is invisible
        axes.plot(steps, scores, color=colour, linewidth=0.6, alpha=0.6, marker=mark)
    steps, mean, low, high = band(curves)
    seeds = f"{len(curves)} seed{'s' if len(curves) > 1 else ''}"
    axes.plot(
        steps, mean, color=colour, linewidth=2, label=", ".join(filter(None, [variant, seeds]))
    )
    axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
