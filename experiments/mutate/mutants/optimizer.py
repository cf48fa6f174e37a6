"""The optimiser: the order of its parts, and their small print."""

from experiments.mutate.plant import Mutant

_FILE, _TESTS = "dreamer_jax/optim.py", ("tests/test_optim.py",)
_AGC = "clip_by_agc(agc),\n"
_RMS = "optax.scale_by_rms(beta2, epsilon, eps_in_sqrt=False, bias_correction=True),\n"
_EMA = "optax.ema(beta1, debias=True),\n"
_INDENT = "        "

MUTANTS = (
    Mutant(
        "momentum_before_division",
        _FILE,
        _RMS + _INDENT + _EMA,
        _EMA + _INDENT + _RMS,
        "gradients are normalised before they are averaged (LaProp)",
        _TESTS,
    ),
    Mutant(
        "clipped_after_division",
        _FILE,
        _AGC + _INDENT + _RMS,
        _RMS + _INDENT + _AGC,
        "gradients are clipped, not normalised ones",
        _TESTS,
    ),
    Mutant(
        "epsilon_inside_the_root",
        _FILE,
        "eps_in_sqrt=False",
        "eps_in_sqrt=True",
        "epsilon is added outside the root",
        _TESTS,
    ),
    Mutant(
        "mean_square_not_corrected",
        _FILE,
        "bias_correction=True",
        "bias_correction=False",
        "the first updates have full size",
        _TESTS,
    ),
    Mutant(
        "momentum_not_corrected",
        _FILE,
        "optax.ema(beta1, debias=True)",
        "optax.ema(beta1, debias=False)",
        "the first updates have full size",
        _TESTS,
    ),
    Mutant(
        "warmup_one_ahead",
        _FILE,
        "-schedules[name](state.count)",
        "-schedules[name](state.count + 1)",
        "the rate of update 0 is 0",
        _TESTS,
    ),
    Mutant(
        "warmup_one_long",
        _FILE,
        "optax.linear_schedule(0.0, rate, warmup), after], [warmup]",
        "optax.linear_schedule(0.0, rate, warmup + 1), after], [warmup + 1]",
        "warm-up is over after `warmup` updates",
        _TESTS,
    ),
    Mutant(
        "zeros_never_move",
        _FILE,
        "jnp.maximum(floor, _norm(param))",
        "_norm(param)",
        "a tensor of zeros can grow",
        _TESTS,
    ),
    Mutant(
        "clipped_by_units",
        _FILE,
        "return jnp.sqrt(jnp.sum(jnp.square(x)))",
        "return jnp.sqrt(jnp.sum(jnp.square(x), -1, keepdims=True))",
        "norms are those of whole tensors",
        _TESTS,
    ),
    Mutant(
        "decay_of_everything",
        _FILE,
        "optax.add_decayed_weights(weight_decay, mask=_kernels)",
        "optax.add_decayed_weights(weight_decay)",
        "biases and scales do not decay",
        _TESTS,
    ),
    Mutant(
        "decay_to_nothing",
        _FILE,
        "optax.cosine_decay_schedule(rate, decay_updates - warmup, alpha=0.1)",
        "optax.cosine_decay_schedule(rate, decay_updates - warmup)",
        "decays end at a tenth",
        _TESTS,
    ),
    Mutant(
        "one_finite_number_is_enough",
        _FILE,
        "finite = jnp.isfinite(jnp.stack(scalars)).all()",
        "finite = jnp.isfinite(jnp.stack(scalars)).any()",
        "an update is kept only if loss and gradients are finite",
        ("tests/test_agent.py::test_an_update_that_is_not_finite_changes_nothing_but_the_count",),
    ),
)
