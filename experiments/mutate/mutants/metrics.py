"""What is counted and written down: once each, in the right unit."""

from experiments.mutate.plant import Mutant

_TRAINING = "dreamer_jax/runtime/training.py"
_ROWS = tuple(
    f"tests/runtime/test_rows_once.py::{name}"
    for name in (
        "test_every_episode_is_counted_exactly_once",
        "test_an_evaluation_adds_a_row_of_its_own_and_no_episode",
    )
)
_EPISODES, _DRIVER_TESTS = "dreamer_jax/runtime/episodes.py", ("tests/runtime/test_driver.py",)
_METRICS = "dreamer_jax/runtime/showing/metrics.py"
_METRICS_TESTS = ("tests/runtime/showing/test_metrics.py",)
_COUNTERS = ("tests/runtime/test_counters.py",)

MUTANTS = (
    Mutant(
        "episodes_counted_twice",
        _TRAINING,
        "        self._ended = []\n        for episode in ended:",
        "        for episode in ended:",
        "an episode is counted once",
        _ROWS,
    ),
    Mutant(
        "last_row_after_the_save",
        _TRAINING,
        "            self._write_row()  # before the save, so that nobody counts its episodes again"
        "\n        self.save()\n",
        "            self.save()\n            self._write_row()\n        else:\n"
        "            self.save()\n",
        "a row is written before the checkpoint of its step",
        _ROWS,
    ),
    Mutant(
        "no_last_row",
        _TRAINING,
        "if done and self._row_at != agreed.policy_steps:",
        "if False:",
        "the last interval has a row, complete or not",
        _ROWS,
    ),
    Mutant(
        "last_row_twice",
        _TRAINING,
        "if done and self._row_at != agreed.policy_steps:",
        "if done:",
        "a step has one row",
        ("tests/runtime/test_training.py::test_every_kind_of_key_is_resumed",),
    ),
    Mutant(
        "decisions_called_simulator_steps",
        _TRAINING,
        '"env_steps": self.agreement.policy_steps * self.parts.source.repeat,',
        '"env_steps": self.agreement.policy_steps,',
        "env_steps count the repeats of an action",
        _COUNTERS,
    ),
    Mutant(
        "resets_counted_as_steps",
        _EPISODES,
        "self.policy_steps += int((~first).sum())",
        "self.policy_steps += len(first)",
        "reset records count in no step",
        _DRIVER_TESTS,
    ),
    Mutant(
        "length_counts_the_reset",
        _EPISODES,
        "self._length = np.where(first, 0, self._length + 1)",
        "self._length = np.where(first, 1, self._length + 1)",
        "the length of an episode is its decisions",
        _DRIVER_TESTS,
    ),
    Mutant(
        "score_goes_on",
        _EPISODES,
        'self._score = np.where(first, 0.0, self._score + records["reward"])',
        'self._score = self._score + records["reward"]',
        "an episode has a score of its own",
        _DRIVER_TESTS,
    ),
    Mutant(
        "unreported_logs_averaged",
        _EPISODES,
        "new = np.stack([np.nan_to_num(value), ~np.isnan(value)])",
        "new = np.stack([np.nan_to_num(value), np.ones(len(first))])",
        "log means are of the steps that reported",
        _DRIVER_TESTS,
    ),
    Mutant(
        "episodes_of_process_0_alone",
        _EPISODES,
        "return [Episode(*each) for finished, _ in told for each in finished], sums",
        "return [Episode(*each) for finished, _ in told[:1] for each in finished], sums",
        "episodes of all processes are counted",
        ("tests/runtime/test_episodes.py",),
    ),
    Mutant(
        "counts_of_process_0_alone",
        _EPISODES,
        "sums = {key: sum(counted[key] for _, counted in told) for key in counts}",
        "sums = {key: counted[key] for _, counted in told[:1] for key in counts}",
        "counts are summed over processes",
        ("tests/runtime/test_episodes.py",),
    ),
    Mutant(
        "means_are_sums",
        _METRICS,
        'row[name] = value / count if how == "mean" else value',
        "row[name] = value",
        "a row holds means",
        _METRICS_TESTS,
    ),
    Mutant(
        "intervals_overlap",
        _METRICS,
        "        self._pending = {}\n        for output in self._outputs:",
        "        for output in self._outputs:",
        "a row is of its interval alone",
        _METRICS_TESTS,
    ),
    Mutant(
        "rows_of_a_lost_course_stay",
        _METRICS,
        "if all(row.get(counter, 0) <= limit for counter, limit in resume_at.items()):",
        "if True:",
        "rows after the checkpoint are cut off",
        _METRICS_TESTS,
    ),
    Mutant(
        "nan_hidden",
        _METRICS,
        "if math.isnan(old) or math.isnan(new):",
        "if False:",
        "least and greatest of something that is no number are none",
        _METRICS_TESTS,
    ),
    Mutant(
        "evaluation_recorded_again",
        _TRAINING,
        "if result.complete and not self._evaluated():",
        "if result.complete:",
        "the evaluation of an agent has one row",
        _ROWS,
    ),
)
