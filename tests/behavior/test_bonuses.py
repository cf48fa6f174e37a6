"""What a behaviour is paid on top of the reward, and for which step (`support/readable.py`)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from readable import GAMMA, KEPT, PARAMS, H, N, draw_rollout, read_behavior
from tiny import quick_jit


def test_a_bonus_is_credited_where_its_step_arrives() -> None:
    """In the imagined timeline `reward[h + 1]` is of the step from h; the start has none."""
    imagined = draw_rollout()

    def brave(params: Any, feat: jax.Array, action: dict[str, jax.Array]) -> jax.Array:
        assert feat.shape == (H * N, imagined.feat.shape[-1]) and action["jump"].shape == (H * N,)
        return feat[:, 0] * 10 + 3 * action["jump"] + params["critic"]["bonus"]

    def calm(params: Any, feat: jax.Array, _: Any) -> jax.Array:
        return jnp.full(feat.shape[:1], 0.125) * params["world"]

    params = PARAMS | {"world": jnp.float32(0.5)}
    plain, paid = read_behavior(), read_behavior(bonuses=(brave, calm))
    judge = lambda behavior: quick_jit(lambda i: behavior._judge(params, KEPT, i))(imagined)
    one, two = judge(plain), judge(paid)
    assert two.reward.shape == (H + 1, N)
    np.testing.assert_array_equal(two.reward[0], one.reward[0])
    feat, action = np.asarray(imagined.feat), np.asarray(imagined.action["jump"])
    expected = np.array(one.reward)
    for h in range(H):
        for n in range(N):
            expected[h + 1, n] += feat[h, n, 0] * 10 + 3 * action[h, n] + 0.0625
    np.testing.assert_allclose(two.reward, expected, rtol=1e-5)
    for name in ("cont", "value", "slow_value"):
        np.testing.assert_array_equal(getattr(two, name), getattr(one, name))


def test_a_bonus_enters_the_returns_of_the_steps_before_it() -> None:
    """A bonus for the last step only: with λ = 1 every return rises by its discounted share."""
    imagined = draw_rollout()
    last = imagined.feat[-1, :, 0]

    def late(_: Any, feat: jax.Array, __: Any) -> jax.Array:
        return jnp.where(jnp.isin(feat[:, 0], last), 2.0, 0.0)

    options = {"lambda_": 1.0, "contdisc": False}
    run = lambda b: quick_jit(lambda i: b.imagined_losses(PARAMS, KEPT, i)[3])(imagined)
    rise = run(read_behavior(bonuses=(late,), **options)) - run(read_behavior(**options))
    cont = np.asarray(imagined.feat[..., 1], np.float64)
    expected = np.full((H, N), 2.0)
    for h in reversed(range(H - 1)):
        expected[h] = GAMMA * cont[h + 1] * expected[h + 1]
    np.testing.assert_allclose(rise, expected, rtol=1e-4)


def test_a_bonus_has_no_gradient() -> None:
    """The parameters that a behaviour's judges read are those of others, and frozen."""
    imagined = draw_rollout()

    def bonus(params: Any, feat: jax.Array, _: Any) -> jax.Array:
        return params["world"] * feat[:, 0]

    behavior = read_behavior(bonuses=(bonus,))
    total = lambda world: behavior._judge(PARAMS | {"world": world}, KEPT, imagined).reward.sum()
    assert quick_jit(jax.grad(total))(jnp.float32(0.5)) == 0
