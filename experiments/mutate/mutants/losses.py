"""Losses of the world model: sums, weights, floors, stopped gradients."""

from experiments.mutate.plant import Mutant

_PREDICTIONS, _PREDICTED = "dreamer_jax/heads/predictions.py", ("tests/heads/test_predictions.py",)
_RSSM, _DIVERGENCE = "dreamer_jax/dynamics/rssm.py", ("tests/dynamics/test_divergence.py",)
_AGENT = "dreamer_jax/agent.py"
_DYN = "jnp.maximum(self.free_nats, categorical_kl(sg(post), prior))"
_REP = "jnp.maximum(self.free_nats, categorical_kl(post, sg(prior)))"

MUTANTS = (
    Mutant(
        "pixels_averaged",
        _PREDICTIONS,
        "jnp.square(self.raw - target / 255).sum(axes)",
        "jnp.square(self.raw - target / 255).mean(axes)",
        "a picture weighs as many nats as its pixels disagree",
        _PREDICTED,
    ),
    Mutant(
        "vectors_averaged",
        _PREDICTIONS,
        "jnp.where(missing, 0.0, jnp.square(error)).sum(axes)",
        "jnp.where(missing, 0.0, jnp.square(error)).mean(axes)",
        "errors of a vector are summed",
        _PREDICTED,
    ),
    Mutant(
        "symlog_forgotten",
        _PREDICTIONS,
        "self.raw - symlog(jnp.where(missing, 0.0, target))",
        "self.raw - jnp.where(missing, 0.0, target)",
        "vectors are predicted in symlog space",
        _PREDICTED,
    ),
    Mutant(
        "bernoulli_half",
        _PREDICTIONS,
        "-(target * positive + (1.0 - target) * negative)",
        "-(target * positive)",
        "an end costs something, too",
        _PREDICTED,
    ),
    Mutant(
        "twohot_chases_target",
        "dreamer_jax/ops/twohot.py",
        "target = jax.lax.stop_gradient(target)",
        "target = jnp.asarray(target)",
        "the target of a two-hot loss is data",
        ("tests/ops/test_twohot.py",),
    ),
    Mutant(
        "twohot_in_symlog_space",
        "dreamer_jax/ops/twohot.py",
        "half = np.sign(half) * np.expm1(np.abs(half))",
        "half = half.copy()",
        "bins are spaced by symexp",
        ("tests/ops/test_twohot.py",),
    ),
    Mutant(
        "dyn_moves_posterior",
        _RSSM,
        _DYN,
        _DYN.replace("sg(post)", "post"),
        "`dyn` trains the prior alone",
        _DIVERGENCE,
    ),
    Mutant(
        "rep_moves_prior",
        _RSSM,
        _REP,
        _REP.replace("sg(prior)", "prior"),
        "`rep` trains the posterior alone",
        _DIVERGENCE,
    ),
    Mutant(
        "dyn_and_rep_swapped",
        _RSSM,
        f'"dyn": {_DYN},\n            "rep": {_REP},',
        f'"rep": {_DYN},\n            "dyn": {_REP},',
        "`dyn` weighs ten times as much as `rep`, and not the reverse",
        _DIVERGENCE,
    ),
    Mutant(
        "kl_reversed",
        _RSSM,
        _DYN,
        "jnp.maximum(self.free_nats, categorical_kl(prior, sg(post)))",
        "the divergence is that of the posterior from the prior",
        _DIVERGENCE,
    ),
    Mutant(
        "free_nats_of_each_group",
        "dreamer_jax/dynamics/rssm.py",
        _DYN,
        "jnp.maximum(self.free_nats, jnp.exp(sg(post)) * (sg(post) - prior)).sum((-1, -2))",
        "the floor is one of the sum over groups",
        _DIVERGENCE,
    ),
    Mutant(
        "kl_without_uniform_share",
        _RSSM,
        "prior = mixed_log_probs(filtered.prior_logits, self.unimix)",
        "prior = mixed_log_probs(filtered.prior_logits, 0.0)",
        "the divergence is that of the mixed distributions",
        _DIVERGENCE,
    ),
    Mutant(
        "no_straight_through",
        "dreamer_jax/ops/categorical.py",
        "return onehot + (probs - jax.lax.stop_gradient(probs))",
        "return onehot",
        "samples of latents carry the gradient of their probabilities",
        ("tests/ops/test_categorical.py",),
    ),
    Mutant(
        "losses_unscaled",
        _AGENT,
        "scaled = (scales[name] * mean for name, mean in means.items())",
        "scaled = (mean for name, mean in means.items())",
        "every loss has its weight",
        ("tests/test_agent.py::test_total_loss_is_the_scaled_sum",),
    ),
    Mutant(
        "losses_summed",
        _AGENT,
        "means = {name: loss.mean() for name, loss in losses.items()}",
        "means = {name: loss.sum() for name, loss in losses.items()}",
        "losses are means over the batch, whatever its size",
        ("tests/parity/test_parity.py",),
    ),
    Mutant(
        "truncation_counts_as_death",
        "dreamer_jax/makers/heads.py",
        "return (1.0 - batch.is_terminal.astype(jnp.float32)) * scale",
        "return (1.0 - batch.is_last.astype(jnp.float32)) * scale",
        "an episode that was cut off goes on for the continue head",
        ("tests/test_makers.py", "tests/test_world_model.py"),
    ),
    Mutant(
        "continue_head_without_discount",
        "dreamer_jax/makers/heads.py",
        "scale = 1 - 1 / agent.discount_horizon if agent.contdisc else 1.0",
        "scale = 1.0",
        "with contdisc the continue head holds the discount",
        ("tests/test_makers.py", "tests/test_world_model.py"),
    ),
)
