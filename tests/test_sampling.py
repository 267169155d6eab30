from collections import Counter
from itertools import chain, pairwise

import pytest

from unmask.training.sampler import Draw, EpochSampler

# Ten recordings of one window; the first six have three fakes each, the rest none.
LABELS = [0.0] * 10 + [1.0] * 18
RECORDINGS = [(str(k), 0) for k in range(10)] + [(str(k % 6), 0) for k in range(18)]


def batches(epoch: int = 1, skip: int = 0, **options: object) -> list[list[Draw]]:
    sampler = EpochSampler(LABELS, RECORDINGS, 4, **options)  # type: ignore[arg-type]
    sampler.set_epoch(epoch, skip)
    drawn = list(sampler)
    assert len(drawn) == len(sampler) - skip
    assert sum(map(len, drawn)) == sampler.windows or skip
    return drawn


def indices(drawn: list[list[Draw]]) -> list[int]:
    return [draw.window for batch in drawn for draw in batch]


@pytest.mark.parametrize("pairs", [False, True])
def test_every_window_comes_once_an_epoch(pairs: bool) -> None:
    one, again, other = (indices(batches(epoch, pairs=pairs)) for epoch in (1, 1, 2))
    assert sorted(one) == sorted(other) == list(range(28))
    assert one == again
    assert one != other
    assert one != indices(batches(1, seed=5, pairs=pairs))


def test_going_on_is_as_if_never_stopped() -> None:
    assert batches(3, skip=2) == batches(3)[2:]


def test_a_fake_comes_beside_its_recording_and_is_augmented_alike() -> None:
    drawn = [draw for batch in batches(pairs=True) for draw in batch]
    subjects = [RECORDINGS[draw.window] for draw in drawn]
    changes = sum(a != b for a, b in pairwise(subjects))
    assert changes == 9  # ten recordings, each in one piece
    seeds = {RECORDINGS[draw.window]: draw.seed for draw in drawn}
    assert all(seeds[RECORDINGS[draw.window]] == draw.seed for draw in drawn)
    assert len(set(seeds.values())) == 10
    assert len({draw.seed for batch in batches() for draw in batch}) == 28
    assert not {d.seed for b in batches(1) for d in b} & {d.seed for b in batches(2) for d in b}


@pytest.mark.parametrize("pairs", [False, True])
def test_balance_takes_as_many_of_both_spread_over_the_recordings(pairs: bool) -> None:
    taken: Counter[int] = Counter()
    for epoch in range(60):
        drawn = indices(batches(epoch, pairs=pairs, balance=True))
        assert len(drawn) == len(set(drawn)) == 20
        fakes = [k for k in drawn if LABELS[k]]
        assert len(fakes) == 10
        assert set(drawn) - set(fakes) == set(range(10))
        # Ten fakes of six recordings: each has one or two.
        assert set(Counter(RECORDINGS[k] for k in fakes).values()) == {1, 2}
        assert len({RECORDINGS[k] for k in fakes}) == 6
        taken.update(fakes)
    assert len(taken) == 18
    assert max(taken.values()) < 2 * min(taken.values())


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_batches_of_one(world: int) -> None:
    parts = [batches(rank=rank, world=world) for rank in range(world)]
    assert len({tuple(map(len, part)) for part in parts}) == 1  # nobody waits for a gradient
    together = [list(chain(*share)) for share in zip(*parts, strict=True)]
    sampler = EpochSampler(LABELS, RECORDINGS, 4 * world)
    sampler.set_epoch(1)
    for share, batch in zip(together, sampler, strict=True):
        assert [d.window for d in share] == [d.window for d in batch][: len(share)]
        assert len(batch) - len(share) < world


def test_a_recording_gives_no_more_than_is_asked_and_others_every_epoch() -> None:
    labels = [0.0] * 12 + [1.0] * 9
    recordings = [("a", k) for k in range(9)] + [("b", k) for k in range(3)]
    recordings += [("a", k) for k in range(9)]
    seen: Counter[int] = Counter()
    for epoch in range(60):
        sampler = EpochSampler(labels, recordings, 4, per_recording=4)
        sampler.set_epoch(epoch)
        drawn = [draw.window for batch in sampler for draw in batch]
        assert len(drawn) == len(set(drawn)) == sampler.windows == 4 + 3 + 4
        kinds = Counter((recordings[k][0], labels[k]) for k in drawn)
        assert kinds == {("a", 0.0): 4, ("b", 0.0): 3, ("a", 1.0): 4}
        seen.update(drawn)
    assert all(seen[k] == 60 for k in range(9, 12))
    assert all(8 < seen[k] < 48 for k in (*range(9), *range(12, 21)))  # 60 * 4 / 9 = 27
