import os
import time

import pytest

from unmask import parallel
from unmask.errors import FileError, UnmaskError


def square(x: int) -> int:
    if x == 3:
        raise FileError("three", "is odd")
    return x * x


def dies(x: int) -> int:
    if x == 2:
        os._exit(9)
    time.sleep(0.05)
    return x


def bug(x: int) -> int:
    raise ZeroDivisionError


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_is_an_outcome_and_not_the_end(workers: int) -> None:
    outcomes = list(parallel.run(square, [1, 2, 3, 4], workers))
    assert sorted((o.item, o.result) for o in outcomes if o.error is None) == [
        (1, 1), (2, 4), (4, 16),
    ]  # fmt: skip
    (failed,) = (o for o in outcomes if o.error is not None)
    assert failed.item == 3
    assert isinstance(failed.error, FileError)
    assert str(failed.error) == "three: is odd"


def test_a_dead_worker_takes_only_its_own_item() -> None:
    outcomes = {o.item: o for o in parallel.run(dies, [0, 1, 2, 3, 4], workers=2)}
    assert sorted(outcomes) == [0, 1, 2, 3, 4]
    assert isinstance(outcomes[2].error, UnmaskError)
    assert [outcomes[k].result for k in (0, 1, 3, 4)] == [0, 1, 3, 4]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bug_is_raised(workers: int) -> None:
    with pytest.raises(ZeroDivisionError):
        list(parallel.run(bug, [1, 2], workers))


def test_nothing_to_do() -> None:
    assert list(parallel.run(square, [], 4)) == []
