"""Where one episode ends and another begins, and what is missing."""

from experiments.mutate.plant import Mutant

_RSSM, _RSSM_TESTS = "dreamer_jax/dynamics/rssm.py", ("tests/dynamics/test_rssm.py",)
_EQUATIONS, _BY_HAND = "dreamer_jax/behavior/equations.py", ("tests/behavior/test_equations.py",)
_PREDICTIONS, _PREDICTED = "dreamer_jax/heads/predictions.py", ("tests/heads/test_predictions.py",)
_DRIVER_TESTS = ("tests/runtime/test_driver.py",)

MUTANTS = (
    Mutant(
        "stoch_survives_a_reset",
        _RSSM,
        "stoch = jnp.where(first[:, None, None], 0, state.stoch)",
        "stoch = state.stoch",
        "nothing before `is_first` influences what follows",
        _RSSM_TESTS,
    ),
    Mutant(
        "deter_survives_a_reset",
        _RSSM,
        "grouped = jnp.where(first[:, None], 0, state.grouped)",
        "grouped = state.grouped",
        "nothing before `is_first` influences what follows",
        _RSSM_TESTS,
    ),
    Mutant(
        "action_survives_a_reset",
        _RSSM,
        "        action = jnp.where(is_first[..., None], 0.0, action)\n",
        "",
        "the last action of an episode has no effect on the next one",
        _RSSM_TESTS,
    ),
    Mutant(
        "reset_by_multiplication",
        _RSSM,
        "grouped = jnp.where(first[:, None], 0, state.grouped)",
        "grouped = state.grouped * (1.0 - first[None, :, None])",
        "a state that is not finite ends with its episode",
        _RSSM_TESTS,
    ),
    Mutant(
        "time_limit_ends_the_return",
        _EQUATIONS,
        "live = gamma * (1.0 - batch.is_terminal.astype(jnp.float32))",
        "live = gamma * (1.0 - batch.is_last.astype(jnp.float32))",
        "a return goes on behind a truncation",
        _BY_HAND,
    ),
    Mutant(
        "trace_crosses_ends",
        _EQUATIONS,
        "inputs = (batch.reward, live, going * lambda_, sg(boot))",
        "inputs = (batch.reward, live, 0.0 * going + lambda_, sg(boot))",
        "a return reads no reward of the next episode",
        _BY_HAND,
    ),
    Mutant(
        "missing_values_learned",
        _PREDICTIONS,
        "missing = jnp.isneginf(target)",
        "missing = jnp.zeros(target.shape, bool)",
        "missing values cost nothing",
        _PREDICTED,
    ),
    Mutant(
        "missing_classes_learned",
        _PREDICTIONS,
        "onehot = jax.nn.one_hot(target.astype(jnp.int32), self.space.classes or 0)",
        "onehot = jax.nn.one_hot(abs(target.astype(jnp.int32)), self.space.classes or 0)",
        "missing classes cost nothing",
        _PREDICTED,
    ),
    Mutant(
        "missing_values_seen",
        "dreamer_jax/nets/encoder.py",
        "value = symlog(jnp.where(jnp.isneginf(value), 0.0, value))",
        "value = symlog(value)",
        "missing values are zeros for the encoder",
        ("tests/nets/test_encoder.py",),
    ),
    Mutant(
        "acted_after_the_end",
        "dreamer_jax/runtime/driver.py",
        'actions = _mask(to_host(chosen), records["is_last"])',
        "actions = to_host(chosen)",
        "no action follows the last record",
        _DRIVER_TESTS,
    ),
    Mutant(
        "acted_after_the_end_on_the_device",
        "dreamer_jax/device/rollout.py",
        "return jnp.where(widen(ended, value), jnp.zeros((), value.dtype), value)",
        "return value",
        "no action follows the last record",
        ("tests/runtime/test_device_driver.py::test_records_are_those_of_the_host",),
    ),
    Mutant(
        "broken_episode_stays_open",
        "dreamer_jax/runtime/driver.py",
        '        self._records["is_last"][lost] = True\n',
        "",
        "an episode that cannot be continued is closed as truncated",
        _DRIVER_TESTS,
    ),
    Mutant(
        "failed_episode_stays_open",
        "dreamer_jax/replay/buffer.py",
        '        data["is_last"][:, :-1] |= data["is_first"][:, 1:]\n',
        "",
        "an episode ends before the next one begins",
        ("tests/replay/test_buffer.py",),
    ),
    Mutant(
        "repeat_hides_a_death",
        "dreamer_jax/envs/adapters/wrappers.py",
        'terminal |= bool(record["is_terminal"])',
        "terminal |= False",
        "a death within repeated actions is one",
        ("tests/envs/adapters/test_wrappers.py",),
    ),
    Mutant(
        "repeat_pays_once",
        "dreamer_jax/envs/adapters/wrappers.py",
        'reward += float(record["reward"])',
        'reward = float(record["reward"])',
        "rewards of repeated actions are summed",
        ("tests/envs/adapters/test_wrappers.py",),
    ),
    Mutant(
        "time_limit_is_a_death",
        "dreamer_jax/envs/adapters/wrappers.py",
        'record |= {"is_last": np.asarray(True)}',
        'record |= {"is_last": np.asarray(True), "is_terminal": np.asarray(True)}',
        "a time limit truncates",
        ("tests/envs/adapters/test_wrappers.py",),
    ),
)
