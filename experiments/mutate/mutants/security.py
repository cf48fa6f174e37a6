"""Files that somebody else wrote: they run no code, and take no memory that they do not have."""

from experiments.mutate.plant import Mutant

_LOAD, _LOAD_TESTS = "dreamer_jax/runtime/saving/load.py", ("tests/runtime/saving/test_load.py",)
_PICKLES, _PICKLES_TESTS = "dreamer_jax/compat/pickles.py", ("tests/compat/test_pickles.py",)
_BOMBS = ("tests/runtime/saving/test_bombs.py",)

MUTANTS = (
    Mutant(
        "code_of_a_run_trusted",
        _LOAD,
        "if named := [] if trust else list(code_named(config)):",
        "if named := []:",
        "code that the files of a run name runs for nobody who does not trust it",
        _LOAD_TESTS,
    ),
    Mutant(
        "task_of_a_run_trusted",
        _LOAD,
        "if not (task or self.trust) and names_code(config.task):",
        "if False:",
        "a task that names code is built for nobody who does not trust it",
        _LOAD_TESTS,
    ),
    Mutant(
        "option_that_names_code_forgotten",
        "dreamer_jax/named.py",
        '    "agent.actor_loss",\n',
        "",
        "every option that can name code is looked at",
        ("tests/test_named.py",),
    ),
    Mutant(
        "sections_that_name_code_forgotten",
        "dreamer_jax/named.py",
        "plain = config.to_dict() if isinstance(config, ConfigDict) else config",
        "plain = config",
        "options in sections are looked at",
        ("tests/test_named.py",),
    ),
    Mutant(
        "pickles_import_what_they_name",
        _PICKLES,
        "        shown = re.sub(",
        "        __import__(module)\n        shown = re.sub(",
        "what a pickle names is not even imported",
        _PICKLES_TESTS,
    ),
    Mutant(
        "pickles_take_what_they_ask_for",
        _PICKLES,
        "if count > self._size - self._file.tell():",
        "if False:",
        "a pickle takes no more memory than its file has",
        _PICKLES_TESTS,
    ),
    Mutant(
        "objects_in_pickled_arrays",
        _PICKLES,
        "if _text(code) not in _TYPES or flags != (False, True):",
        "if flags != (False, True):",
        "only numbers are read",
        _PICKLES_TESTS,
    ),
    Mutant(
        "long_blocks_read",
        "dreamer_jax/replay/blocks.py",
        "if path.stat().st_size > longest:",
        "if False:",
        "a block takes no more memory than its records",
        ("tests/replay/test_blocks.py",),
    ),
    Mutant(
        "bombs_unpacked",
        "dreamer_jax/replay/blocks.py",
        "return unpacker.decompress(frame, max_output_size=size)",
        "return unpacker.decompress(frame, max_output_size=2**31)",
        "a block takes no more memory than its records",
        ("tests/replay/test_blocks.py",),
    ),
    Mutant(
        "host_state_without_bounds",
        "dreamer_jax/runtime/saving/checkpoint_files.py",
        "if any(headers[name].nbytes > HOST_ARRAY_BYTES for name in needed):",
        "if False:",
        "bounds of the host state hold for loading",
        _BOMBS,
    ),
    Mutant(
        "arrays_of_anybody_read",
        "dreamer_jax/runtime/saving/checkpoint.py",
        "        match_tree(expected, chosen)\n        return list(chosen)",
        "        return list(chosen)",
        "arrays of another agent are told before they are read",
        _BOMBS,
    ),
    Mutant(
        "two_runs_in_one_directory",
        "dreamer_jax/runtime/saving/lock.py",
        "fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)",
        "a second run is refused",
        ("tests/runtime/saving/test_lock.py",),
    ),
)
