"""Checkpoints that look whole and continue another run than the one that was stopped."""

from experiments.mutate.plant import Mutant

_ACCOUNTS, _ACCOUNTS_TESTS = "dreamer_jax/runtime/accounts.py", ("tests/runtime/test_accounts.py",)
_LEARNER = "dreamer_jax/runtime/learner.py"
_LEARNER_TESTS = ("tests/runtime/test_learner.py",)
_TRAINING = "dreamer_jax/runtime/training.py"
_RUNS = tuple(
    f"tests/runtime/test_training.py::{name}"
    for name in (
        "test_row_of_a_stopped_interval_is_not_split",
        "test_stopped_and_resumed_equals_uninterrupted",
    )
)
_DRIVER, _DRIVER_TESTS = "dreamer_jax/runtime/driver.py", ("tests/runtime/test_driver.py",)
_SAMPLING_TESTS = ("tests/replay/test_sampling.py",)
_PARTS = ("tests/runtime/saving/test_redistribute.py",)
_VECTOR = "dreamer_jax/envs/vector/vector_env.py"
_VECTOR_TESTS = ("tests/envs/vector/test_vector_env.py",)

MUTANTS = (
    Mutant(
        "fraction_of_an_update_lost",
        _ACCOUNTS,
        'self._owed, self._seen = dict(state["owed"]), state["seen"]',
        'self._owed, self._seen = {k: float(int(v)) for k, v in state["owed"].items()}, '
        'state["seen"]',
        "fractions of updates are owed on",
        _ACCOUNTS_TESTS,
    ),
    Mutant(
        "steps_credited_again",
        _ACCOUNTS,
        'self._owed, self._seen = dict(state["owed"]), state["seen"]',
        'self._owed, self._seen = dict(state["owed"]), state["seen"] and 0',
        "a step is credited once",
        _ACCOUNTS_TESTS,
    ),
    Mutant(
        "account_in_a_checkpoint_moves",
        _ACCOUNTS,
        'return {"owed": dict(self._owed), "seen": self._seen}',
        'return {"owed": self._owed, "seen": self._seen}',
        "a state is a copy",
        _ACCOUNTS_TESTS,
    ),
    Mutant(
        "windows_drawn_again",
        "dreamer_jax/replay/sampling.py",
        '        self.rng.bit_generator.state = state["rng"]\n',
        "",
        "a resumed replay draws what would have been drawn",
        _SAMPLING_TESTS,
    ),
    Mutant(
        "queue_forgotten",
        "dreamer_jax/replay/sampling.py",
        'self._queue.extend((stream, start) for stream, start in state["queue"])',
        "pass",
        "windows that waited in the queue still do",
        _SAMPLING_TESTS,
    ),
    Mutant(
        "update_in_flight_forgotten",
        _LEARNER,
        'if "pending" in host:',
        "if False:",
        "the update in flight is written back and reported by the resumed run",
        _LEARNER_TESTS,
    ),
    Mutant(
        "acting_parameters_not_behind",
        _LEARNER,
        'self.acting = load(self.acting, "acting/")',
        "self.acting = compiled.acting(self._train_state)",
        "acting parameters lag by one update after a resume, too",
        _LEARNER_TESTS,
    ),
    Mutant(
        "carry_of_training_forgotten",
        _LEARNER,
        '        self._carry = compiled.put_batch(load(self._carry, "train_carry/"))\n',
        "",
        "the carry of training is resumed",
        _LEARNER_TESTS,
    ),
    Mutant(
        "carry_of_acting_forgotten",
        _DRIVER,
        '        self._carry = restore_arrays(self._carry, arrays, "policy_carry/")\n',
        "",
        "the agent remembers the open episodes",
        _DRIVER_TESTS,
    ),
    Mutant(
        "actions_drawn_again",
        _DRIVER,
        'self.calls, self._records = host["calls"], host["records"]',
        'self._records = host["records"]',
        "a resumed run draws the actions that would have been drawn",
        _DRIVER_TESTS,
    ),
    Mutant(
        "scores_of_open_episodes_lost",
        "dreamer_jax/runtime/episodes.py",
        'self._score, self._length, self._logs = state["score"], state["length"], state["logs"]',
        'self._length, self._logs = state["length"], state["logs"]',
        "the score of an episode counts what it earned before the stop",
        _DRIVER_TESTS,
    ),
    Mutant(
        "metrics_of_the_interval_lost",
        _TRAINING,
        '            self.metrics.load_state_dict(found[0].host["metrics"])\n',
        "",
        "what was collected before a stop is in the next row",
        _RUNS,
    ),
    Mutant(
        "accounts_not_restored",
        _TRAINING,
        '        parts.accounts.load_state(found[0].host["accounts"])\n',
        "",
        "what is owed before a stop is owed after it",
        _RUNS,
    ),
    Mutant(
        "chores_done_again",
        _TRAINING,
        'self._chored = found[0].host["chored"]',
        "self._chored = 0",
        "a resumed run writes rows where the uninterrupted one does",
        _RUNS,
    ),
    Mutant(
        "parts_of_two_moments",
        "dreamer_jax/runtime/saving/redistribute.py",
        "if _moment(part) == _moment(first)",
        "if part",
        "all parts of a checkpoint are of one moment",
        _PARTS,
    ),
    Mutant(
        "replaced_checkpoint_not_put_back",
        "dreamer_jax/runtime/saving/checkpoint.py",
        "        if found.replaced:",
        "        if False:",
        "a checkpoint that a run goes on from is there until all have a newer one",
        _PARTS,
    ),
    Mutant(
        "updates_counted_anew",
        _LEARNER,
        'self.grad_steps, self.dropped = host["grad_steps"], host["dropped"]',
        'self.dropped = host["dropped"]',
        "updates are counted over the whole run",
        _LEARNER_TESTS,
    ),
    Mutant(
        "episode_begun_twice",
        _VECTOR,
        'self._episodes = [int(each["episode"]) for each in saved]',
        'self._episodes = [int(each["episode"]) - 1 for each in saved]',
        "no episode is played twice",
        _VECTOR_TESTS,
    ),
    Mutant(
        "half_an_episode_replayed",
        "dreamer_jax/envs/vector/history.py",
        "steps = self._steps[index] if self._whole[index] else []",
        "steps = self._steps[index]",
        "an episode whose first actions are unknown is not replayed",
        ("tests/envs/vector/test_history.py",),
    ),
    Mutant(
        "other_episode_continued",
        _VECTOR,
        "if record is not None and not self._is_last_record(episode.environment, record):",
        "if record is None:",
        "an episode that came out differently when replayed is closed",
        _VECTOR_TESTS,
    ),
)
