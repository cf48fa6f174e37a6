"""A world model without a decoder, shaped by an objective that the package does not know."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trained
from plugged import plugged_run
from tiny_run import make_training

pytestmark = pytest.mark.usefixtures("cheap_compile", "shared_programs")


def test_an_objective_takes_the_place_of_the_decoder(tmp_path):
    options = {
        "agent.objectives.decoder": "",
        "agent.objectives.contrast": "contrast_objective:make",
        "agent.loss_scales.contrast": 1.0,
        "log.outputs": "",
    }
    training = make_training(plugged_run("logger", options), tmp_path)
    training.restore()
    kernel = lambda: np.array(training.learner.train_state.params["contrast"]["kernel"])
    never: Any = SimpleNamespace(requested=False)
    before = kernel()
    training.run(never)
    training.close()
    assert "decoder" not in training.learner.train_state.params
    assert not np.array_equal(before, kernel())
    rows = trained.rows(training)
    losses = [row["train/loss/contrast"] for row in rows if "train/loss/contrast" in row]
    assert losses and np.isfinite(losses).all()
    assert not any(name.startswith("train/loss/recon") for row in rows for name in row)
