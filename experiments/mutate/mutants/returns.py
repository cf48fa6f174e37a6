"""λ-returns, their weights, and the percentiles that scale advantages."""

from experiments.mutate.plant import Mutant

_RETURNS, _BY_HAND = "dreamer_jax/ops/returns.py", ("tests/ops/test_returns.py",)
_STATS, _STATS_TESTS = "dreamer_jax/ops/percentile.py", ("tests/ops/test_percentile.py",)
_FILE, _TESTS = "dreamer_jax/behavior/actor_critic.py", ("tests/behavior/test_actor_critic.py",)
_SHIFT = "reward, live, later = reward[1:], live[1:], boot[1:]"

MUTANTS = (
    Mutant(
        "value_of_the_same_step",
        _RETURNS,
        _SHIFT,
        _SHIFT.replace("boot[1:]", "boot[:-1]"),
        "a return takes the value of the next state",
        _BY_HAND,
    ),
    Mutant(
        "reward_of_the_same_step",
        _RETURNS,
        _SHIFT,
        _SHIFT.replace("reward[1:]", "reward[:-1]"),
        "a reward belongs to the action before it",
        _BY_HAND,
    ),
    Mutant(
        "end_of_the_same_step",
        _RETURNS,
        _SHIFT,
        _SHIFT.replace("live[1:]", "live[:-1]"),
        "what is discounted is the step that comes",
        _BY_HAND,
    ),
    Mutant(
        "bootstrap_one_early",
        _RETURNS,
        "return gain + keep * boot[-1:]",
        "return gain + keep * boot[-2:-1]",
        "the last return is bootstrapped by the last value",
        _BY_HAND,
    ),
    Mutant(
        "lambda_reversed",
        _RETURNS,
        "gain = reward + live * (1.0 - lambda_) * later\n    keep = live * lambda_",
        "gain = reward + live * lambda_ * later\n    keep = live * (1.0 - lambda_)",
        "λ = 1 is the return of the whole rollout",
        _BY_HAND,
    ),
    Mutant(
        "start_discounted",
        _RETURNS,
        "return jnp.cumprod(discount * cont, 0) / discount",
        "return jnp.cumprod(discount * cont, 0)",
        "the first state is not discounted",
        _BY_HAND,
    ),
    Mutant(
        "discounted_twice",
        _FILE,
        "discount = 1.0 if self.contdisc else self.gamma",
        "discount = self.gamma",
        "a continue head that holds the discount is not discounted again",
        _TESTS,
    ),
    Mutant(
        "baseline_of_the_next_state",
        _FILE,
        "advantage = (returns - value[:-1]) / scale",
        "advantage = (returns - value[1:]) / scale",
        "the baseline is the value of the state in which was acted",
        _TESTS,
    ),
    Mutant(
        "scaled_by_the_statistics_before",
        _FILE,
        "stats = update_return_stats(stats, returns, rate=rate, low=low, high=high)\n"
        "        scale = return_scale(stats, limit)",
        "scale = return_scale(stats, limit)\n"
        "        stats = update_return_stats(stats, returns, rate=rate, low=low, high=high)",
        "percentiles are moved by a batch before they scale it",
        _TESTS,
    ),
    Mutant(
        "weights_shifted",
        _FILE,
        "            weight[:-1],\n",
        "            weight[1:],\n",
        "a state has the weight of arriving there",
        _TESTS,
    ),
    Mutant(
        "noise_amplified",
        "configs/default.py",
        "agent.return_limit = 1.0",
        "agent.return_limit = 1e-8",
        "small returns are not scaled up",
        ("tests/house/test_published_values.py",),
    ),
    Mutant(
        "limit_ignored",
        _STATS,
        'return jnp.maximum(limit, stats["high"] - stats["low"])',
        'return stats["high"] - stats["low"]',
        "the scale is never below its limit",
        _STATS_TESTS,
    ),
    Mutant(
        "statistics_forget",
        _STATS,
        "(1.0 - rate) * stats[name] + rate * batch[name]",
        "rate * stats[name] + (1.0 - rate) * batch[name]",
        "percentiles move slowly",
        _STATS_TESTS,
    ),
    Mutant(
        "percentiles_have_gradient",
        _STATS,
        "jnp.percentile(jax.lax.stop_gradient(returns), levels)",
        "jnp.percentile(returns, levels)",
        "statistics are not differentiated",
        _STATS_TESTS,
    ),
)
