"""The secret of a start lies in the run directory, for its user alone, and not for long."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from dreamer_jax.cluster.secret import offer, take
from dreamer_jax.errors import UserError


def test_secret_travels_through_a_private_file(tmp_path):
    folder = tmp_path / "new" / "run"
    with offer(folder) as (secret, told):
        (path,) = folder.iterdir()
        assert told == {"file": path.name} and path.read_bytes() == secret
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert take(folder, told, 1) == secret
    assert list(folder.iterdir()) == []


def test_every_start_has_a_secret_of_its_own_and_clears_up_after_others(tmp_path):
    (tmp_path / ".secret-of-a-killed-start").write_text("old")
    (tmp_path / "config.json").write_text("{}")
    secrets = set()
    for _ in range(3):
        with offer(tmp_path) as (secret, told):
            secrets.add(secret)
            assert sorted(p.name for p in tmp_path.iterdir()) == [told["file"], "config.json"]
    assert len(secrets) == 3 and all(len(secret) == 32 for secret in secrets)


def test_without_a_run_directory_it_is_told(tmp_path):
    with offer(None) as (secret, told):
        assert take(None, told, 1) == take(tmp_path, told, 1) == secret


def test_file_that_appears_late_is_waited_for(tmp_path):
    """As the file systems of clusters show it."""
    with ThreadPoolExecutor() as pool:
        taken = pool.submit(take, tmp_path, {"file": ".secret-7"}, 10)
        (tmp_path / ".secret-7").write_bytes(b"half")
        (tmp_path / ".secret-7").write_bytes(b"x" * 32)
        assert taken.result() == b"x" * 32


@pytest.mark.parametrize("name", [".secret-7", "../.secret-7", "/etc/hostname", "long"])
def test_secret_that_is_not_there_is_an_error_with_a_remedy(tmp_path, name):
    """An announcement cannot name a file elsewhere, though there is one of the right length."""
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / ".secret-7").write_bytes(b"x" * 32)
    (folder / "long").write_bytes(b"x" * 33)
    message = r"not in the run directory .*; give all processes one --logdir"
    with pytest.raises(UserError, match=message):
        take(folder, {"file": name}, 0.2)
    with pytest.raises(UserError, match=r"run directory None \(this process was given none\)"):
        take(None, {"file": name}, 0.2)


def test_directory_that_cannot_be_written_to_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="exists"), offer(tmp_path / "file"):
        pass
