"""Files that are whole or absent, and checkpoints that are what they say."""

from experiments.mutate.plant import Mutant

_FILES, _FILES_TESTS = "dreamer_jax/files.py", ("tests/test_files.py",)
_SAVER = "dreamer_jax/runtime/saving/checkpoint.py"
_SAVER_TESTS = ("tests/runtime/saving/test_checkpoint.py",)
_FOLDER = "dreamer_jax/runtime/saving/checkpoint_files.py"
_BLOCKS, _BLOCKS_TESTS = "dreamer_jax/replay/blocks.py", ("tests/replay/test_blocks.py",)

MUTANTS = (
    Mutant(
        "written_in_place",
        _FILES,
        "        yield temp\n",
        "        yield path\n        temp.write_bytes(path.read_bytes())\n",
        "a failed write leaves the old file",
        _FILES_TESTS,
    ),
    Mutant(
        "renamed_before_it_is_on_disk",
        _FILES,
        "        sync(temp)\n        os.replace(temp, path)\n",
        "        os.replace(temp, path)\n        sync(path)\n",
        "content reaches the disk before its name",
        _FILES_TESTS,
    ),
    Mutant(
        "folder_not_flushed",
        _FILES,
        "        if last:\n            sync(path.parent)\n",
        "",
        "a name is on the disk before anything counts on it",
        _FILES_TESTS,
    ),
    Mutant(
        "unfinished_files_stay",
        _FILES,
        "        temp.unlink(missing_ok=True)",
        "        pass",
        "a failed write leaves nothing beside the file",
        _FILES_TESTS,
    ),
    Mutant(
        "old_checkpoint_deleted_first",
        _SAVER,
        "                self._save(step, arrays, document, host_arrays, before_commit)\n",
        "                self._prune(step)\n"
        "                self._save(step, arrays, document, host_arrays, before_commit)\n",
        "an old checkpoint goes after the newer one is whole",
        _SAVER_TESTS,
    ),
    Mutant(
        "checkpoint_written_in_place",
        _SAVER,
        'temp = self._directory / f".tmp-{step:012d}-{os.getpid()}"',
        'temp = self._directory / f"{step:012d}"',
        "a folder has the name of a checkpoint once it is one",
        _SAVER_TESTS,
    ),
    Mutant(
        "replaced_checkpoint_deleted_first",
        _SAVER,
        "            final.rename(old)\n",
        "            shutil.rmtree(final)\n",
        "at every moment there is a whole checkpoint",
        _SAVER_TESTS,
    ),
    Mutant(
        "newer_checkpoints_of_a_lost_course_stay",
        _SAVER,
        "kept = [path for found, path in whole if found <= step][: self._keep]",
        "kept = [path for found, path in whole][: self._keep]",
        "a run that goes on from before a damaged checkpoint keeps its own",
        _SAVER_TESTS,
    ),
    Mutant(
        "checkpoints_not_verified",
        _FOLDER,
        "if _digest(folder / name) != files[name]:",
        "if False:",
        "a damaged checkpoint is not loaded",
        _SAVER_TESTS,
    ),
    Mutant(
        "format_not_compared",
        _FOLDER,
        "if version != FORMAT:",
        "if False:",
        "a checkpoint of another format is not loaded",
        _SAVER_TESTS,
    ),
    Mutant(
        "host_state_moves_until_it_is_written",
        _SAVER,
        "document, host_arrays = encode({**host})\n\n        def work() -> None:\n",
        "def work() -> None:\n            document, host_arrays = encode({**host})\n",
        "a checkpoint is of the moment at which it was asked for",
        _SAVER_TESTS,
    ),
    Mutant(
        "failed_save_ends_the_run",
        _SAVER,
        "            except Exception as error:  # a failed save must never end a long run\n",
        "            except ZeroDivisionError as error:\n",
        "a full disk costs one save",
        _SAVER_TESTS,
    ),
    Mutant(
        "damaged_blocks_believed",
        _BLOCKS,
        "if content[-DIGEST_BYTES:] != _digest(body):",
        "if False:",
        "a damaged block is named",
        _BLOCKS_TESTS,
    ),
    Mutant(
        "blocks_of_other_runs_believed",
        _BLOCKS,
        "if header != expected or checksum(content) != digest:",
        "if header != expected:",
        "a block of another run is told by its checksum",
        _BLOCKS_TESTS,
    ),
    Mutant(
        "block_in_another_place_believed",
        _BLOCKS,
        "if header != expected or checksum(content) != digest:",
        "if checksum(content) != digest:",
        "a block in another place is told by its header",
        _BLOCKS_TESTS,
    ),
)
