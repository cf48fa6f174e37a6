"""Several processes: what they agree on, whom they let in, whom they miss."""

from experiments.mutate.plant import Mutant

_AGREEMENT = "dreamer_jax/cluster/agreement.py"
_AGREEMENT_TESTS = ("tests/cluster/test_agreement.py",)
_GREETING, _GREETING_TESTS = "dreamer_jax/cluster/greeting.py", ("tests/cluster/test_greeting.py",)
_SECRET, _SECRET_TESTS = "dreamer_jax/cluster/secret.py", ("tests/cluster/test_secret.py",)
_LIFELINE, _LIFELINE_TESTS = "dreamer_jax/cluster/lifeline.py", ("tests/cluster/test_lifeline.py",)
_LOST = ("tests/cluster/test_processes.py::test_a_lost_process_ends_the_others_who_say_so",)

MUTANTS = (
    Mutant(
        "stop_needs_everyone",
        _AGREEMENT,
        "int(stops.max())",
        "int(stops.min())",
        "a stop of one process is one of all",
        _AGREEMENT_TESTS,
    ),
    Mutant(
        "training_starts_with_the_first",
        _AGREEMENT,
        "int(ready.min())",
        "int(ready.max())",
        "training waits until every process has enough",
        _AGREEMENT_TESTS,
    ),
    Mutant(
        "steps_of_one_process",
        _AGREEMENT,
        "int(steps.sum())",
        "int(steps.max())",
        "steps of all processes count",
        _AGREEMENT_TESTS,
    ),
    Mutant(
        "end_overrun",
        _AGREEMENT,
        "            or bound >= self._end\n",
        "",
        "processes meet where the run may be at its end",
        _AGREEMENT_TESTS,
    ),
    Mutant(
        "processes_hardly_meet",
        _AGREEMENT,
        "            or self._steps_apart >= MOST_APART\n",
        "",
        "a request to stop is heard although nothing is due",
        _AGREEMENT_TESTS,
    ),
    Mutant(
        "stop_of_a_waiting_process_not_heard",
        _AGREEMENT,
        "return self._heard or self._asked()",
        "return self._asked()",
        "a stop of a process that waits for the evaluation is one of all",
        _AGREEMENT_TESTS,
    ),
    Mutant(
        "stopped_evaluation_is_done_for_the_others",
        _AGREEMENT,
        "self._meet(busy=False, done=done)",
        "self._meet(busy=False, done=True)",
        "all processes end alike after a stop during the evaluation",
        _AGREEMENT_TESTS,
    ),
    Mutant(
        "vanished_host_not_missed",
        _LIFELINE,
        "connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)",
        "connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)",
        "a host that loses its power is missed",
        _LIFELINE_TESTS,
    ),
    Mutant(
        "vanished_host_missed_late",
        _LIFELINE,
        '"TCP_KEEPINTVL": patience // 8',
        '"TCP_KEEPINTVL": patience',
        "a host that loses its power is missed within the patience",
        _LIFELINE_TESTS,
    ),
    Mutant(
        "lost_process_ignored",
        _LIFELINE,
        "if said != FAREWELL and not self._leaving:",
        "if False:",
        "processes end when one is lost",
        _LOST,
    ),
    Mutant(
        "proof_not_compared",
        _GREETING,
        "if not hmac.compare_digest(proof, hello[-_PROOF_BYTES:]) or nonce in self._nonces:",
        "if not proof or nonce in self._nonces:",
        "who does not know the secret is a stranger",
        _GREETING_TESTS,
    ),
    Mutant(
        "greeting_counts_twice",
        _GREETING,
        " or nonce in self._nonces:",
        ":",
        "a greeting that was overheard is worth nothing",
        _GREETING_TESTS,
    ),
    Mutant(
        "anybody_is_process_0",
        _GREETING,
        'return hmac.compare_digest(heard, _proof(secret, b"process 0", nonce, number))',
        "return len(heard) == _PROOF_BYTES",
        "process 0 proves to be it",
        _GREETING_TESTS,
    ),
    Mutant(
        "proofs_exchangeable",
        _GREETING,
        'hmac.digest(secret, b"dreamer_jax " + speaker + nonce + process, "sha256")',
        'hmac.digest(secret, b"dreamer_jax " + nonce + process, "sha256")',
        "the proof of a caller is not that of process 0",
        _GREETING_TESTS,
    ),
    Mutant(
        "silent_callers_stay",
        _GREETING,
        "for caller in [c for c, (limit, _) in self._callers.items() if limit <= now]:",
        "for caller in []:",
        "a caller has a few seconds",
        _GREETING_TESTS,
    ),
    Mutant(
        "waits_without_end",
        _GREETING,
        "            if time.monotonic() > until:\n                raise UserError(\n"
        '                    f"{count - len',
        "            if False:\n                raise UserError(\n"
        '                    f"{count - len',
        "process 0 waits for the others for so long only",
        _GREETING_TESTS,
    ),
    Mutant(
        "secret_for_everyone",
        _SECRET,
        "os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600",
        "os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644",
        "only the user of a run reads its secret",
        _SECRET_TESTS,
    ),
    Mutant(
        "secret_left_behind",
        _SECRET,
        "        with suppress(OSError):\n            path.unlink(missing_ok=True)",
        "        pass",
        "the secret is gone once all have met",
        _SECRET_TESTS,
    ),
    Mutant(
        "secret_from_anywhere",
        _SECRET,
        "while folder is not None and PurePath(name).name == name:",
        "while folder is not None:",
        "an announcement names no file outside of the run directory",
        _SECRET_TESTS,
    ),
)
