"""What a guest feels: our server, the floor and other responders, by the same programs in it: `make bench-guest`.

The guest is that of the end-to-end tests, in QEMU without KVM: times tell nothing, their ratios do. Rounds of all peers
alternate and each begins with another, every measurement is the first after a plug, and rows of goal and figure go to
`guest.json` with all times. Run it as `python -m benchmarks.guest` in the folder of the repository.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.guest_cases import CaseError, groups
from benchmarks.guest_peers import Bench, plugged_in
from benchmarks.guest_report import Outcome, Report
from tests.e2e import image
from tests.e2e.guest import Guest, GuestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.guest_cases import Case, Group

BUILD = Path(__file__).parent / "build"
MEMORY = 2560
"""Megabytes of the guest: half of it may be files on their way, and the largest of them has 300."""

SLOW = 60.0
"""Seconds from which a case has fewer rounds."""


_WARM = "head -c 800m /dev/zero >/tmp/warm; rm /tmp/warm"
"""The host gives memory to a guest that first touches it: the first to fetch a file shall not pay for that."""


@dataclass(slots=True)
class Machine:
    """Keeps a guest running, and boots another when a peer has ended it."""

    work: Path
    guest: Guest | None = None

    def running(self) -> Guest:
        """The guest."""
        if self.guest is None or self.guest.status() is not None:
            booted = replace(image.image(), memory=MEMORY)
            self.guest = Guest.start(booted, Path(tempfile.mkdtemp(prefix="guest-", dir=self.work)))
            self.guest.check(_WARM, timeout=300)
        return self.guest

    def end(self, *_: object) -> None:
        """Takes SIGTERM and SIGINT: all is to end, and the guest at once, for it may be at work."""
        if self.guest is not None and self.guest.status() is None:
            self.guest.kill()
        sys.exit("ended")


@contextmanager
def machine(work: Path) -> Iterator[Machine]:
    """A machine that is off at the end."""
    found = Machine(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, found.end)
    try:
        yield found
    finally:
        if found.guest is not None and found.guest.status() is None:
            found.guest.stop()


def measure(machine: Machine, peer: str, case: Case, share: Path, options: argparse.Namespace) -> Outcome:
    """One case with one peer, freshly plugged in."""
    guest = machine.running()
    bench = Bench(guest, share, machine.work, options.programs)
    try:
        with plugged_in(peer, bench) as plugged:
            return Outcome(case.run(guest, plugged, options.limit))
    except CaseError as error:
        return Outcome(error.seconds, str(error))
    except (GuestError, OSError) as error:
        if guest.status() is None:
            raise
        print(f"{case.name}, {peer}: {error}", file=sys.stderr)
        return Outcome(None, "ends QEMU")


def compare(machine: Machine, group: Group, report: Report, options: argparse.Namespace) -> None:
    """All rounds of a group."""
    cases = [case for case in group.cases if case.name.startswith(tuple(options.only or [""]))]
    if not cases:
        return
    share = group.share(machine.work).resolve()
    for number in range(options.rounds):
        first = number % len(group.peers)  # what comes first may find things colder than what follows
        for case in cases:
            for peer in group.peers[first:] + group.peers[:first]:
                if report.wants(case.name, peer, options.rounds, SLOW, options.slow_rounds):
                    report.add(case.name, peer, measure(machine, peer, case, share, options))
                    outcome = report.outcomes[case.name][peer][-1]
                    print(f"{case.name}, {peer}: {outcome.problem or f'{outcome.seconds:.2f} s'}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all of it, or what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow-rounds", type=int, default=1, help=f"of what takes over {SLOW:g} s, or fails")
    parser.add_argument("--limit", type=float, default=400, help="seconds that a program may take")
    parser.add_argument("--only", action="append", help="cases whose names begin so, such as 'get'; may be repeated")
    parser.add_argument("--part", type=float, default=1, help="of the full sizes")
    parser.add_argument("--programs", type=Path, default=BUILD)
    parser.add_argument("--json", type=Path, default=BUILD / "guest.json")
    options = parser.parse_args(arguments)
    if missing := image.missing():
        parser.error(f"a guest needs {', '.join(missing)}")
    report = Report()
    with tempfile.TemporaryDirectory() as folder, machine(Path(folder)) as guests:
        for group in groups(options.part):
            compare(guests, group, report, options)
    print(f"\n{report.table()}\n")
    for row in report.rows():
        print(row)
    options.json.write_text(json.dumps(report.to_json(), indent=1), "utf-8")


if __name__ == "__main__":
    main()
