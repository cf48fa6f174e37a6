"""Seeds and keys: what must differ differs, and nothing is drawn twice."""

from experiments.mutate.plant import Mutant

_FILE = "dreamer_jax/envs/vector/vector_env.py"
_SEEDS = tuple(
    f"tests/envs/vector/test_vector_env.py::{name}"
    for name in (
        "test_episodes_start_from_their_own_seeds",
        "test_seeds_differ_with_every_argument_and_fit_31_bits",
        "test_another_process_continues_open_episodes_and_then_starts_its_own",
    )
)
_ENTROPY = "[seed, _ROLE, process, environment, episode]"
_COMPILED = "dreamer_jax/device/compiled.py"
_DETERMINED = ("tests/test_agent.py::test_updates_are_determined_by_seed_and_step",)
_KEYS = ("tests/test_agent_keys.py",)
_WINDOWS = (
    "tests/runtime/test_assemble.py::test_every_seed_and_every_process_draws_windows_of_its_own",
)

MUTANTS = (
    *(
        Mutant(
            f"episodes_without_{part}",
            _FILE,
            _ENTROPY,
            _ENTROPY.replace(f", {part}" if part != "seed" else "seed, ", ""),
            f"seeds of episodes differ with the {part}",
            _SEEDS,
        )
        for part in ("seed", "process", "environment", "episode")
    ),
    Mutant(
        "processes_play_the_same",
        _FILE,
        "episode_seed(self._seed, self._process, index, self._episodes[index])",
        "episode_seed(self._seed, 0, index, self._episodes[index])",
        "every process has episodes of its own",
        _SEEDS,
    ),
    Mutant(
        "environments_play_the_same",
        _FILE,
        "episode_seed(self._seed, self._process, index, self._episodes[index])",
        "episode_seed(self._seed, self._process, 0, self._episodes[index])",
        "every environment has episodes of its own",
        _SEEDS,
    ),
    Mutant(
        "same_noise_in_every_update",
        _COMPILED,
        "key = jax.random.fold_in(key, state.grad_steps)",
        "key = jax.random.fold_in(key, 0)",
        "every update draws anew",
        _DETERMINED,
    ),
    Mutant(
        "same_noise_in_every_step",
        _COMPILED,
        "key = jax.random.fold_in(key, step)\n        return self.agent.policy",
        "return self.agent.policy",
        "every call of the policy draws anew",
        _KEYS,
    ),
    Mutant(
        "roles_share_a_key",
        _COMPILED,
        "role: jax.random.fold_in(jax.random.key(seed), i) for i, role",
        "role: jax.random.fold_in(jax.random.key(seed), 0) for i, role",
        "initialisation, training, acting, evaluation and reports have keys of their own",
        _KEYS,
    ),
    Mutant(
        "processes_act_the_same",
        _COMPILED,
        'jax.random.fold_in(self._keys["policy"], jax.process_index())',
        'jax.random.fold_in(self._keys["policy"], 0)',
        "every process draws actions of its own",
        _KEYS,
    ),
    Mutant(
        "acting_reuses_its_key",
        "dreamer_jax/agent.py",
        "latent_key, action_key = jax.random.split(key)",
        "latent_key = action_key = key",
        "latent and action of a step are drawn independently",
        _KEYS,
    ),
    Mutant(
        "learning_reuses_its_key",
        "dreamer_jax/agent.py",
        "observe_key, imagine_key = jax.random.split(key)",
        "observe_key = imagine_key = key",
        "filtering and imagination draw independently",
        _KEYS,
    ),
    Mutant(
        "imagination_reuses_its_key",
        "dreamer_jax/behavior/imagination.py",
        "action_key, latent_key = jax.random.split(key)",
        "action_key = latent_key = key",
        "imagined actions and latents are drawn independently",
        _KEYS,
    ),
    Mutant(
        "behaviours_share_a_key",
        "dreamer_jax/agent.py",
        "later = [jax.random.fold_in(key, index) for index in range(1, len(self.behaviors))]",
        "later = [key for index in range(1, len(self.behaviors))]",
        "every behaviour draws by itself",
        _KEYS,
    ),
    Mutant(
        "loop_on_the_device_reuses_its_key",
        "dreamer_jax/device/rollout.py",
        "call_key = jax.random.fold_in(key, call)",
        "call_key = jax.random.fold_in(key, start)",
        "every step of a loop on the device draws anew, as the host would",
        ("tests/runtime/test_device_driver.py::test_records_are_those_of_the_host",),
    ),
    Mutant(
        "processes_sample_the_same",
        "dreamer_jax/runtime/assemble.py",
        "seed=[config.seed, 1, process],",
        "seed=[config.seed, 1],",
        "every process draws windows of its own",
        _WINDOWS,
    ),
    Mutant(
        "replay_ignores_the_seed",
        "dreamer_jax/runtime/assemble.py",
        "seed=[config.seed, 1, process],",
        "seed=[0, 1, process],",
        "another seed draws other windows",
        _WINDOWS,
    ),
    Mutant(
        "evaluation_repeats_training",
        "dreamer_jax/runtime/evaluation.py",
        "EVALUATION_PROCESS = 1_000_000",
        "EVALUATION_PROCESS = 0",
        "an agent is evaluated in episodes that it was not trained on",
        ("tests/runtime/test_evaluation.py",),
    ),
)
