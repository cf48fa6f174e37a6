"""`testing:factors`: edges, tables and splits, and that play follows them."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_jax.envs.testing.factors import (
    COLORS,
    GRAPHS,
    LEAST_INFORMATION,
    OBJECTS,
    Factors,
    _network,
    draw_table,
    information,
)
from dreamer_jax.errors import UserError

CHAIN, COLLIDER = [(1, 0), (2, 1), (3, 2), (4, 3)], [(4, 0), (4, 1), (4, 2), (4, 3)]
EDGES = {
    "chain": CHAIN,
    "fork": [(1, 0), (2, 0), (3, 0), (4, 0)],
    "collider": COLLIDER,
    "full": [(child, parent) for child in range(5) for parent in range(child)],
}


@pytest.mark.parametrize("graph", GRAPHS)
def test_edges_are_child_by_parent_and_roots_keep_themselves(graph):
    edges = Factors(graph).edges
    roots = [(i, i) for i in range(4 if graph == "collider" else 1)]
    assert set(zip(*map(list, np.nonzero(edges)), strict=True)) == {*EDGES[graph], *roots}


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("world", [0, 1, 2])
def test_every_edge_tells_something_and_tables_are_distributions(graph, world):
    env = Factors(graph, world)
    for child, table in enumerate(env.tables):
        np.testing.assert_allclose(table.sum(-1), 1)
        assert table.shape == (COLORS,) * (len(GRAPHS[graph][child]) + 1)
        assert all(nats >= LEAST_INFORMATION for nats in information(table))
    twin, other = Factors(graph, world), Factors(graph, world + 1)
    for table, same, different in zip(env.tables, twin.tables, other.tables, strict=True):
        np.testing.assert_array_equal(table, same)
        assert table.ndim == 1 or np.abs(table - different).max() > 0.1


def test_information_by_hand():
    """A child that copies its first parent and ignores the second: log 5 nats and none."""
    copies = np.broadcast_to(np.eye(COLORS)[:, None, :], (COLORS,) * 3)
    np.testing.assert_allclose(information(copies), [np.log(COLORS), 0], atol=1e-12)


def test_networks_that_ignore_a_parent_are_drawn_again():
    """About one network in fifty tells next to nothing of a parent; such an edge is none."""
    draws = [draw_table(1, np.random.default_rng(seed)) for seed in range(200)]
    first = [_network(1, np.random.default_rng(seed)) for seed in range(200)]
    short = [min(information(table)) < LEAST_INFORMATION for table in first]
    assert 0 < sum(short) < 20
    assert min(min(information(table)) for table in draws) >= LEAST_INFORMATION
    for table, drawn, again in zip(first, draws, short, strict=True):
        assert np.array_equal(table, drawn) != again


@pytest.mark.parametrize("graph", GRAPHS)
def test_steps_follow_the_tables_of_the_parents_before(graph):
    """Frequencies of next colours, grouped by what the parents were at t, against the tables."""
    env, rng = Factors(graph, length=30_000), np.random.default_rng(0)
    record = env.reset(0)
    counts = [np.zeros_like(table) for table in env.tables]
    while not record["is_last"]:
        before, action = record["colors"], int(rng.integers(25))
        record = env.step({"action": np.int32(action)})
        painted, color = divmod(action, COLORS)
        after = record["colors"]
        assert after[painted] == color
        assert record["reward"] == (after[-1] == 0)
        for child, parents in enumerate(GRAPHS[graph]):
            if child == painted:
                continue
            if not parents:
                assert after[child] == before[child]
            else:
                counts[child][(*before[list(parents)], after[child])] += 1
    for child, parents in enumerate(GRAPHS[graph]):
        if parents:
            number = counts[child].sum(-1, keepdims=True)
            expected = number * env.tables[child]
            deviation = np.sqrt(np.maximum(number * env.tables[child], 1))
            assert (np.abs(counts[child] - expected) < 6 * deviation + 3).all()
            assert number.sum() > 20_000


def test_the_two_keys_and_the_joint_one_mean_the_same():
    joint, split = Factors("full"), Factors("full", joint=False)
    records = joint.reset(5), split.reset(5)
    rng = np.random.default_rng(0)
    while not records[0]["is_last"]:
        painted, color = rng.integers(5, size=2)
        records = (
            joint.step({"action": np.int32(5 * painted + color)}),
            split.step({"object": np.int32(painted), "color": np.int32(color)}),
        )
        np.testing.assert_array_equal(records[0]["colors"], records[1]["colors"])


def starts(split: str, number: int = 4000) -> np.ndarray:
    env = Factors("fork", split=split)
    return np.stack([env.reset(seed)["colors"] for seed in range(number)])


def shared(starts: np.ndarray, one: int, other: int) -> float:
    """Return the mutual information of two objects' colours in nats."""
    joint = np.zeros((COLORS, COLORS))
    np.add.at(joint, (starts[:, one], starts[:, other]), 1 / len(starts))
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / product[seen])).sum())


def test_siblings_go_together_in_training_and_not_when_decorrelated():
    """Mutual information of independent colours is about (5 − 1)²/2n = 0.002 by chance."""
    siblings = [(1, 3), (3, 4)]  # some of this world
    trained, decorrelated = starts("train"), starts("decorrelated")
    assert min(shared(trained, *pair) for pair in siblings) > 0.1
    assert max(shared(decorrelated, *pair) for pair in [*siblings, (0, 1)]) < 0.01
    share = (decorrelated[..., None] == np.arange(COLORS)).mean(0)
    assert np.abs(share - 0.2).max() < 4 * np.sqrt(0.16 / 4000)


def test_corruption_hides_the_last_object_and_nothing_else():
    plain, corrupted = Factors("chain", length=500), Factors("chain", split="corrupted", length=500)
    records = plain.reset(1), corrupted.reset(1)
    seen, wrong = [], 0
    rng = np.random.default_rng(0)
    while not records[1]["is_last"]:
        truth = corrupted._colors.copy()
        np.testing.assert_array_equal(records[1]["colors"][:-1], truth[:-1])
        seen.append(int(records[1]["colors"][-1]))
        wrong += seen[-1] != truth[-1]
        records = (None, corrupted.step({"action": np.int32(rng.integers(25))}))
        assert records[1]["reward"] == (corrupted._colors[-1] == 0)
    assert abs(wrong / 500 - 0.8) < 4 * np.sqrt(0.16 / 500)
    assert np.bincount(seen, minlength=5).min() > 60


def expected_score(env: Factors, length: int) -> float:
    """Return the mean score of random play, from the joint distribution of all colours."""
    colors = np.stack(np.unravel_index(np.arange(COLORS**OBJECTS), (COLORS,) * OBJECTS))
    follow = []  # [3125, 5] of each object
    for child, parents in enumerate(GRAPHS["chain"]):
        table = env.tables[child] if parents else np.eye(COLORS)
        follow.append(table[tuple(colors[list(parents) or [child]])])
    at = np.full(COLORS**OBJECTS, 1.0)
    for child, parents in enumerate(GRAPHS["chain"]):
        table = env.tables[child][tuple(colors[list(parents)])] if parents else None
        at *= 0.2 if table is None else table[np.arange(len(at)), colors[child]]
    score = 0.0
    for _ in range(length):
        new = np.zeros((COLORS,) * OBJECTS)
        for painted in range(OBJECTS):
            probs = list(follow)
            probs[painted] = np.full_like(probs[painted], 1 / COLORS)
            new += np.einsum("n,na,nb,nc,nd,ne->abcde", at / 5, *probs, optimize=True)
        score += new[..., 0].sum()
        at = new.reshape(-1)
    return score


def test_random_play_scores_what_the_joint_distribution_says_and_painting_is_paid_always():
    """Scores of episodes are independent: the bound is four deviations of their mean."""
    env, rng, episodes = Factors("chain", length=6), np.random.default_rng(0), 3000
    scores = {"random": [], "oracle": []}
    for seed in range(episodes):
        for name, policy in (("random", lambda: rng.integers(25)), ("oracle", lambda: 20)):
            record, score = env.reset(seed), 0.0
            while not record["is_last"]:
                record = env.step({"action": np.int32(policy())})
                score += float(record["reward"])
            scores[name].append(score)
    assert set(scores["oracle"]) == {6.0}
    bound = 4 * np.std(scores["random"]) / np.sqrt(episodes)
    assert abs(np.mean(scores["random"]) - expected_score(env, 6)) < bound < 0.3


def test_senseless_options_are_refused():
    with pytest.raises(UserError, match="graph is 'tree'; choose one of chain, fork"):
        Factors("tree")
    with pytest.raises(UserError, match="split is 'test'"):
        Factors(split="test")
