from __future__ import annotations

import pytest

from tests.mtp.test_watch import EVERYTHING, added, moved, removed, rescan
from usbredir_mtp.mtp.folder_aliases import Aliases
from usbredir_mtp.mtp.storage import Change, ChangeKind


@pytest.fixture
def aliases() -> Aliases:
    aliases = Aliases()
    aliases.note(("link",), ("a", "b"))
    aliases.note(("other", "link"), ("a", "b"))
    aliases.note(("to file",), ("a", "b", "file"))
    return aliases


@pytest.mark.parametrize(
    ("change", "meanings"),
    [
        (added("c"), []),
        (added("a", "other"), []),
        (added("a", "bc"), []),
        (added("a", "b", "x"), [added("link", "x"), added("other", "link", "x")]),
        (removed("a", "b", "x", "y"), [removed("link", "x", "y"), removed("other", "link", "x", "y")]),
        (
            Change(ChangeKind.MODIFIED, ("a", "b", "file")),
            [Change(ChangeKind.MODIFIED, path) for path in (("link", "file"), ("other", "link", "file"), ("to file",))],
        ),
        (rescan("a", "b", "x"), [rescan("link", "x"), rescan("other", "link", "x")]),
        (rescan("a"), [rescan("link"), rescan("other", "link"), rescan("to file")]),
        (
            removed("a", folder=True),
            [removed(*path, folder=True) for path in (("link",), ("other", "link"), ("to file",))],
        ),
        (removed("a"), []),
        (EVERYTHING, []),
        (moved(("c",), ("d",)), []),
        (
            moved(("a", "b", "x"), ("a", "b", "y")),
            [
                removed("link", "x"),
                removed("other", "link", "x"),
                added("link", "y"),
                added("other", "link", "y"),
            ],
        ),
        (moved(("c",), ("a", "b", "y")), [added("link", "y"), added("other", "link", "y")]),
        (Change(ChangeKind.MOVED, ("a", "b", "x")), [removed("link", "x"), removed("other", "link", "x")]),
    ],
)
def test_translation(aliases: Aliases, change: Change, meanings: list[Change]) -> None:
    first, *others = aliases.translate(change)
    assert first == change
    assert sorted(others, key=_order) == sorted(meanings, key=_order)


def _order(change: Change) -> tuple[str, tuple[str, ...]]:
    return change.kind.name, change.path


def test_a_move_is_gone_before_it_is_there(aliases: Aliases) -> None:
    kinds = [change.kind for change in aliases.translate(moved(("a", "b", "x"), ("a", "b", "y")))]
    assert kinds == [ChangeKind.MOVED, *[ChangeKind.REMOVED] * 2, *[ChangeKind.ADDED] * 2]


def test_a_link_that_leads_elsewhere_now(aliases: Aliases) -> None:
    aliases.note(("link",), ("c",))
    aliases.note(("other", "link"), ("c",))
    aliases.note(("to file",), ("c",))
    assert list(aliases.translate(added("a", "b", "x"))) == [added("a", "b", "x")]
    assert added("link", "x") in list(aliases.translate(added("c", "x")))
    assert list(aliases._links) == [("c",)]


def test_noting_it_again_changes_nothing(aliases: Aliases) -> None:
    aliases.note(("link",), ("a", "b"))
    assert len(list(aliases.translate(added("a", "b", "x")))) == 3
