from __future__ import annotations

import threading
from collections import Counter

import pytest

from usbredir_mtp.mtp.codes import ResponseCode
from usbredir_mtp.mtp.operations import OPERATIONS
from usbredir_mtp.tally import BUCKETS, KIND_OF, UNKNOWN, Kind, Tallies, Tally, Times

OK = ResponseCode.OK
GET_OBJECT, GET_OBJECT_INFO, SEND_OBJECT = 0x1009, 0x1008, 0x100D


def test_every_operation_is_of_a_kind() -> None:
    assert set(OPERATIONS) <= set(KIND_OF)
    assert {KIND_OF[GET_OBJECT], KIND_OF[GET_OBJECT_INFO], KIND_OF[SEND_OBJECT]} == {Kind.READ, Kind.LIST, Kind.WRITE}
    assert {KIND_OF[code] for code in OPERATIONS} == set(Kind)


def test_a_guest_cannot_make_up_operations() -> None:
    tally = Tally()
    for code in range(0x10000):
        tally.ended(code, OK, 0.0)
    assert set(tally.transactions) == {(code, OK) for code in (UNKNOWN, *KIND_OF)}
    assert tally.transactions.total() == 0x10000


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (BUCKETS[0], 0), (BUCKETS[0] * 1.01, 1), (BUCKETS[-1], len(BUCKETS) - 1), (1e9, len(BUCKETS))],
)
def test_a_bucket_has_its_upper_end(seconds: float, bucket: int) -> None:
    times = Times()
    times.add(seconds)
    assert times.counts.index(1) == bucket
    assert sum(times.counts) == 1
    assert times.seconds == seconds


def test_the_total_is_of_those_that_are_there_and_those_that_were() -> None:
    tallies = Tallies()
    errors: Counter[int] = Counter()
    one, other = tallies.begin(errors), tallies.begin(Counter())
    for tally, size in ((one, 10), (other, 100)):
        tally.ended(GET_OBJECT, OK, 0.5)
        tally.sent += size
        tally.received += 2 * size
    errors[28] += 1
    for _ in range(2):
        total = tallies.total()
        assert total.transactions == {(GET_OBJECT, OK): 2}
        assert total.times[Kind.READ].counts == [0, 0, 0, 2, 0, 0, 0]
        assert (total.times[Kind.READ].seconds, total.times[Kind.LIST].seconds) == (1.0, 0.0)
        assert (total.sent, total.received) == (110, 220)
        assert total.errors == {28: 1}
        tallies.end(one)
    other.ended(GET_OBJECT, ResponseCode.ACCESS_DENIED, 0.0)
    assert tallies.total().transactions == {(GET_OBJECT, OK): 2, (GET_OBJECT, ResponseCode.ACCESS_DENIED): 1}
    assert one.transactions == {(GET_OBJECT, OK): 1}


def test_whoever_reads_never_sees_less_than_before() -> None:
    tallies = Tallies()
    guests, rounds = 4, 200
    counts = [0]
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            counts.append(tallies.total().transactions.total())

    def work() -> None:
        for code in range(rounds):
            tally = tallies.begin(Counter())
            tally.ended(code, code, 0.0)  # new keys all the time
            tally.ended(GET_OBJECT, code, 0.0)
            tallies.end(tally)

    reader = threading.Thread(target=read)
    workers = [threading.Thread(target=work) for _ in range(guests)]
    for thread in (reader, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    reader.join()
    assert counts == sorted(counts)
    assert tallies.total().transactions.total() == 2 * guests * rounds
