"""The benchmarks run on any machine and report what they say they measure."""

from __future__ import annotations

import json
import sys

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmark.__main__ import BENCHMARKS, main, parse
from experiments.benchmark.flops import count_flops
from experiments.benchmark.scaling import draw

TINY = "--size=32/8/2/1/8"


def test_replay_beside_a_copy_of_the_same_bytes():
    args = parse(["replay", TINY, "--records=640", "--batch=2", "--length=7", "--steps=3"])
    result = BENCHMARKS["replay"](args)
    assert 0 < result["ms_p10"] <= result["ms_median"] <= result["ms_p90"]
    # 24 + 6 floats, reward, three flags; 32 floats and 32 classes of the latent.
    assert result["bytes"] == pytest.approx(640 * (4 * 30 + 4 + 3 + 4 * 32 + 32), rel=0.02)
    assert 1.0 <= result["bytes_over_raw"] <= 1.02


def test_operations_are_counted_as_often_as_loops_run():
    x, w = jnp.ones((3, 5)), jnp.ones((5, 5))
    loop = lambda x, w: jax.lax.scan(lambda c, _: (c @ w, None), x, None, length=7)[0]
    assert count_flops(loop, x, w) == 7 * 2 * 3 * 5 * 5
    # The gradient of a product is two products, here of the loop's input and of its matrix.
    assert count_flops(jax.grad(lambda *a: loop(*a).sum(), (0, 1)), x, w) == 3 * 7 * 2 * 3 * 5 * 5


def test_operations_of_convolutions_conditions_and_compiled_calls():
    picture, kernel = jnp.ones((2, 7, 7, 3)), jnp.ones((5, 5, 3, 11))
    numbers = ("NHWC", "HWIO", "NHWC")
    convolve = lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", None, None, numbers)
    assert count_flops(jax.jit(convolve), picture, kernel) == 2 * 2 * 7 * 7 * 11 * 5 * 5 * 3
    square = lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x, x)
    assert count_flops(square, jnp.ones((5, 5))) == 2 * 5**3


@pytest.mark.slow
def test_a_step_reports_all_that_it_promises():
    result = BENCHMARKS["step"](parse(["step", TINY, "--batch=2", "--length=5", "--steps=3"]))
    assert {
        "ms_median",
        "ms_p10",
        "ms_p90",
        "first_call_s",
        "parameters",
        "flops",
        "peak_bytes",
    } <= {*result}
    assert result["flops"] > result["flops_by_xla"] / 2 > 0
    assert 0 < result["share_of_large_product"] < 1


@pytest.mark.slow
def test_the_parts_of_a_step():
    result = BENCHMARKS["parts"](parse(["parts", TINY, "--batch=2", "--length=5", "--steps=3"]))
    assert len(result) == 5 and all(value > 0 for value in result.values())


def test_a_picture_of_how_cost_grows(tmp_path):
    pytest.importorskip("matplotlib")
    draw({"batch=4": 3.0, "batch=8": 7.5, "envs=1": 0.3}, tmp_path / "cost.png")
    assert (tmp_path / "cost.png").stat().st_size > 1000


@pytest.mark.parametrize("workers", ["inline", "process"])
def test_environments_bare_and_behind_the_driver(workers):
    arguments = ["envs", "--task=testing:mixed", "--batch=2", "--steps=20", f"--workers={workers}"]
    result = BENCHMARKS["envs"](parse(arguments))
    place = {"inline": "in this process", "process": "worker processes (asked for)"}[workers]
    assert place in result["where"] and result["task"] == "testing:mixed"
    overhead = result["driver_us"] - result["bare_us"]
    assert result["overhead_us"] == pytest.approx(overhead)
    assert result["steps_per_s"] == pytest.approx(1e6 / result["driver_us"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "package", "names"),
    [
        (["--config=atari100k"], "ale_py", {"ale_vector"}),
        (
            ["--config=dmc_proprio", "--task=dmc:cartpole_balance"],
            "dm_control",
            {"dmc_loop", "gymnasium_sync", "gymnasium_async"},
        ),
    ],
    ids=["atari", "dmc"],
)
@pytest.mark.filterwarnings("ignore:.*X11:Warning")
def test_environments_beside_what_users_of_the_suite_would_take(options, package, names):
    pytest.importorskip(package)
    arguments = ["envs", *options, "--batch=2", "--steps=5", "--workers=inline"]
    result = BENCHMARKS["envs"](parse(arguments))
    fastest = min(result[f"{name}_us"] for name in names)
    assert result["share_of_yardstick"] == pytest.approx(fastest / result["driver_us"])


@pytest.mark.slow
@pytest.mark.usefixtures("cheap_compile")
def test_environments_on_the_device_beside_those_of_the_host():
    arguments = ["device_envs", TINY, "--batch=2", "--steps=16", "--task=device:chase"]
    result = BENCHMARKS["device_envs"](parse(arguments))
    for kind in ("random", "agent"):
        device, host = (result[f"{where}_{kind}_steps_per_s"] for where in ("device", "host"))
        assert device > 0 and host > 0
        assert result[f"{kind}_device_over_host"] == pytest.approx(device / host)


@pytest.mark.usefixtures("cheap_compile")
def test_the_loop_beside_its_step():
    arguments = ["loop", TINY, "--task=testing:counting", "--batch=2", "--length=5", "--steps=4"]
    result = BENCHMARKS["loop"](parse([*arguments, "--envs=2", "--ratio=5"]))
    assert result["loop_ms_per_update"] > 0 and result["step_ms_median"] > 0
    ratio = result["loop_ms_per_update"] / result["step_ms_median"]
    assert result["loop_over_step"] == pytest.approx(ratio)


def test_a_table_is_printed_and_json_written(tmp_path, capsys, monkeypatch):
    path = tmp_path / "result.json"
    arguments = ["replay", TINY, "--records=640", "--batch=2", "--length=7", "--steps=3"]
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments, f"--json={path}"])
    main()
    out = capsys.readouterr().out
    assert out.startswith("replay vector continuous 32/8/2/1/8 2×7 float32 on cpu")
    assert set(json.loads(path.read_text())) <= set(out.split())


@pytest.mark.slow
def test_programs_are_counted_and_grow_with_the_agent():
    count = lambda *more: BENCHMARKS["program"](parse(["program", TINY, "--batch=2", *more]))
    small, large = count("--length=3"), count("--length=3", "--obs=image", "--size=64/8/2/2/8")
    for name in ("operations_before_xla", "update_instructions", "update_fusions"):
        assert 100 < small[name] < large[name]
    assert 0 < small["policy_instructions"] < small["update_instructions"]
