"""Acting and evaluation: which actions, which parameters, which episodes."""

from experiments.mutate.plant import Mutant

_FILE, _TESTS = "dreamer_jax/runtime/evaluation.py", ("tests/runtime/test_evaluation.py",)
_TRAINING = "dreamer_jax/runtime/training.py"
_MODES = ("tests/test_agent.py::test_training_samples_and_evaluation_takes_the_mode",)
_COMMAND = ("tests/commands/test_evaluate.py",)

MUTANTS = (
    Mutant(
        "short_episodes_preferred",
        _FILE,
        "complete = all(len(done) >= int(q) for done, q in zip(finished, quota, strict=True))",
        "quota[:] = episodes; complete = sum(map(len, finished)) >= episodes",
        "every environment contributes its share, not whichever ends first",
        _TESTS,
    ),
    Mutant(
        "rest_of_episodes_forgotten",
        _FILE,
        "    quota[: episodes % envs.number] += 1\n",
        "",
        "as many episodes are run as were asked for",
        _TESTS,
    ),
    Mutant(
        "stopped_counts_as_complete",
        _FILE,
        "return Evaluation(flat, None if film is None else film.frames, complete)",
        "return Evaluation(flat, None if film is None else film.frames, True)",
        "a stopped evaluation is not recorded",
        _TESTS,
    ),
    Mutant(
        "stop_not_heard",
        _FILE,
        "if complete or (stop is not None and stop.requested):",
        "if complete:",
        "a stop is heard between any two steps",
        _TESTS,
    ),
    Mutant(
        "evaluation_samples",
        _FILE,
        'mode: str = "eval",',
        'mode: str = "train",',
        "evaluation is greedy unless it is asked not to be",
        _TESTS,
    ),
    Mutant(
        "evaluation_shares_training_keys",
        _FILE,
        'role="evaluation")',
        'role="policy")',
        "evaluation draws from a stream of keys of its own",
        _TESTS,
    ),
    Mutant(
        "actor_always_samples",
        "dreamer_jax/behavior/actor_critic.py",
        'sampler = GREEDY if mode == "eval" else self.sampler',
        "sampler = self.sampler",
        "evaluation takes the actor's mode",
        _MODES,
    ),
    Mutant(
        "actor_never_samples",
        "dreamer_jax/behavior/actor_critic.py",
        'sampler = GREEDY if mode == "eval" else self.sampler',
        "sampler = GREEDY",
        "training samples",
        _MODES,
    ),
    Mutant(
        "sample_flag_reversed",
        "dreamer_jax/commands/evaluate.py",
        'mode="train" if values.sample else "eval"',
        'mode="eval" if values.sample else "train"',
        "--sample samples",
        _COMMAND,
    ),
    Mutant(
        "agent_before_the_last_update_evaluated",
        _TRAINING,
        "params = parts.compiled.acting(self.learner.train_state)",
        "params = self.learner.acting",
        "the newest parameters are evaluated",
        (f"{_TESTS[0]}::test_a_run_evaluates_its_newest_agent_in_episodes_of_its_own",),
    ),
    Mutant(
        "evaluation_in_training_episodes",
        _FILE,
        "process=EVALUATION_PROCESS,",
        "process=0,",
        "an agent is evaluated in episodes that it was not trained on",
        (f"{_TESTS[0]}::test_a_run_evaluates_its_newest_agent_in_episodes_of_its_own",),
    ),
    Mutant(
        "acting_sees_the_newest_parameters",
        "dreamer_jax/runtime/learner.py",
        "self._train_state, self._carry = update.state, update.carry",
        "self._train_state, self._carry, self.acting = update.state, update.carry, update.acting",
        "acting parameters lag by exactly one update",
        ("tests/runtime/test_learner.py",),
    ),
    Mutant(
        "actions_of_other_environments",
        "dreamer_jax/runtime/driver.py",
        "return self._receive(self._envs.step(actions))",
        "return self._receive(self._envs.step({k: v[::-1] for k, v in actions.items()}))",
        "environments receive the actions that are stored",
        ("tests/runtime/test_driver.py",),
    ),
)
