from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.mtp.memory_storage import MemoryStorage
from usbredir_mtp.mtp.changes import apply, follow
from usbredir_mtp.mtp.claims import MAX_DEFERRED
from usbredir_mtp.mtp.codes import EventCode, ObjectFormat, ResponseCode
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.nodes import Node, Root, children_of, locate
from usbredir_mtp.mtp.objects import ObjectTable
from usbredir_mtp.mtp.storage import Change, ChangeKind

if TYPE_CHECKING:
    from usbredir_mtp.mtp.events import Event

ADDED, REMOVED, CHANGED = EventCode.OBJECT_ADDED, EventCode.OBJECT_REMOVED, EventCode.OBJECT_INFO_CHANGED


@dataclass
class Scene:
    """A table over one storage, and what is heard of it."""

    storage: MemoryStorage
    table: ObjectTable = field(default_factory=ObjectTable)
    heard: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root: Root = self.table.add_storage(self.storage)
        follow(self.table, self.root)
        self.table.publisher.subscribe(self)

    def notify(self, event: Event, /) -> None:
        self.heard.append(event)

    def names(self, folder: Node | None = None) -> dict[str, Node]:
        return {node.name: node for node in self.table.children(folder or self.root)}

    def take(self) -> list[tuple[EventCode, int]]:
        heard, self.heard = [tuple(event) for event in self.heard], []
        return heard  # type: ignore[return-value]


@pytest.fixture
def scene() -> Scene:
    return Scene(MemoryStorage("a", "b", "box/c", "box/deep/d"))


def test_handles_are_given_once(scene: Scene) -> None:
    first = scene.names()
    assert sorted(node.handle for node in first.values()) == [1, 2, 3]
    assert scene.names() == first
    scene.storage.drop("a")
    scene.storage.put("e")
    second = scene.names()
    assert second["e"].handle == 4
    with pytest.raises(MtpError) as caught:
        scene.table.get(first["a"].handle)
    assert caught.value.code is ResponseCode.INVALID_OBJECT_HANDLE


def test_no_handle_costs_a_search(scene: Scene) -> None:
    for number in range(1000):
        scene.storage.put(f"box/{number}")
    nodes = scene.names(scene.names()["box"])
    scene.storage.asked.clear()
    for node in nodes.values():
        scene.table.view(scene.table.get(node.handle))
    assert scene.storage.asked == {"stat": len(nodes)}


def test_impossible_handles(scene: Scene) -> None:
    for handle in (0, 1, 0xFFFFFFFF):
        with pytest.raises(MtpError):
            scene.table.get(handle)


def test_nothing_is_walked_before_it_is_asked_for(scene: Scene) -> None:
    assert scene.storage.asked == {}
    scene.names()
    assert scene.storage.asked == {"scan": 1}


def test_walk(scene: Scene) -> None:
    assert sorted(node.name for node in scene.table.walk(scene.root)) == ["a", "b", "box", "c", "d", "deep"]


def test_a_walk_leaves_out_what_vanishes(scene: Scene) -> None:
    walk = scene.table.walk(scene.root)
    assert {next(walk).name for _ in range(3)} == {"a", "b", "box"}
    scene.storage.drop("box")
    assert list(walk) == []


def test_formats_and_parents(scene: Scene) -> None:
    box = scene.names()["box"]
    deep = scene.names(box)["deep"]
    assert (box.format, box.parent_handle) == (ObjectFormat.ASSOCIATION, 0)
    assert deep.parent_handle == box.handle
    assert locate(scene.names(deep)["d"]) == (scene.root, scene.storage, ("box", "deep", "d"))
    with pytest.raises(MtpError):
        children_of(scene.names()["a"])


def test_the_first_listing_is_no_news_and_the_next_one_is(scene: Scene) -> None:
    before = scene.names()
    assert scene.take() == []
    scene.storage.put("new")
    scene.storage.drop("b")
    new = scene.names()["new"]
    assert scene.take() == [(REMOVED, before["b"].handle), (ADDED, new.handle)]


def test_a_folder_in_a_file_s_place_is_another_object(scene: Scene) -> None:
    old = scene.names()["a"]
    scene.storage.drop("a")
    scene.storage.put("a/")
    new = scene.names()["a"]
    assert new.folder
    assert scene.take() == [(REMOVED, old.handle), (ADDED, new.handle)]


def test_a_listing_that_is_older_than_the_table_removes_nothing(scene: Scene) -> None:
    scene.names()

    def arrive() -> None:
        scene.storage.before_scan_ends = lambda: None
        scene.storage.put("late")
        scene.table.added(scene.root, "late", scene.storage.stat(("late",)))

    scene.storage.before_scan_ends = arrive
    assert "late" in scene.names()
    assert [code for code, _ in scene.take()] == [ADDED]


def test_attributes_that_changed_are_told_to_those_who_saw_others(scene: Scene) -> None:
    node = scene.names()["a"]
    scene.table.view(node)
    scene.table.view(node)
    assert scene.take() == []
    scene.storage.put("a", 5)
    scene.table.views(scene.root)
    assert scene.take() == [(CHANGED, node.handle)]


def test_hidden_names_are_for_those_who_made_them(scene: Scene) -> None:
    scene.storage.hidden = {".x", ".y", ".z"}
    scene.storage.put(".x")
    scene.storage.put(".y")
    assert ".x" not in scene.names()
    scene.table.added(scene.root, ".x", scene.storage.stat((".x",)))
    assert {".x"} == scene.names().keys() & scene.storage.hidden
    scene.take()
    scene.storage.tell(ChangeKind.ADDED, scene.storage.put(".z"))
    scene.storage.tell(ChangeKind.MODIFIED, (".y",))
    assert scene.take() == []
    a = scene.names()["a"]
    scene.storage.tell(ChangeKind.MOVED, *scene.storage.shift("a", ".z"))
    assert scene.take() == [(REMOVED, a.handle)]


class TestFollowing:
    def test_what_nobody_has_seen_is_no_news(self, scene: Scene) -> None:
        scene.storage.tell(ChangeKind.ADDED, scene.storage.put("new"))
        scene.names()
        scene.storage.tell(ChangeKind.ADDED, scene.storage.put("box/new"))
        scene.storage.tell(ChangeKind.REMOVED, scene.storage.drop("box/c"))
        scene.storage.tell(ChangeKind.MOVED, *scene.storage.shift("box/new", "box/newer"))
        assert scene.take() == []

    def test_added_changed_removed(self, scene: Scene) -> None:
        scene.names()
        scene.storage.tell(ChangeKind.ADDED, scene.storage.put("new"))
        new = scene.names()["new"].handle
        scene.storage.tell(ChangeKind.MODIFIED, scene.storage.put("new", 5))
        scene.storage.tell(ChangeKind.MODIFIED, ("new",))
        scene.storage.tell(ChangeKind.REMOVED, scene.storage.drop("new"))
        scene.storage.tell(ChangeKind.REMOVED, ("new",))
        assert scene.take() == [(ADDED, new), (CHANGED, new), (REMOVED, new)]

    def test_a_removal_of_what_is_there_again_is_none(self, scene: Scene) -> None:
        scene.names()
        scene.storage.tell(ChangeKind.REMOVED, ("a",))
        assert scene.take() == []

    def test_a_move_keeps_the_handle(self, scene: Scene) -> None:
        names = scene.names()
        box = names["box"]
        inner = scene.names(box)["deep"]
        scene.storage.tell(ChangeKind.MOVED, *scene.storage.shift("a", "box/a"))
        assert scene.names(box)["a"] is names["a"]
        scene.storage.tell(ChangeKind.MOVED, *scene.storage.shift("box", "crate"), folder=True)
        assert scene.names()["crate"] is box
        assert scene.names(box)["deep"] is inner
        codes = [(code, handle) for handle in (names["a"].handle, box.handle) for code in (REMOVED, ADDED)]
        assert scene.take() == codes

    def test_a_move_over_another_is_a_new_content(self, scene: Scene) -> None:
        names = scene.names()
        scene.table.view(names["b"])
        scene.storage.put("a", 5)
        scene.storage.tell(ChangeKind.MOVED, *scene.storage.shift("a", "b"))
        assert scene.names()["b"] is names["b"]
        assert scene.take() == [(REMOVED, names["a"].handle), (CHANGED, names["b"].handle)]

    def test_old_news_of_a_move(self, scene: Scene) -> None:
        """By the time that they arrive the one name, the other, or both are something else's."""
        names = scene.names()
        moved = scene.storage.shift("a", "z")
        scene.table.moved(names["a"], scene.root, "z")
        scene.storage.put("a")
        again = scene.names()
        scene.take()
        scene.storage.tell(ChangeKind.MOVED, *moved)
        assert scene.names() == again
        scene.storage.drop("z")
        scene.storage.drop("a")
        scene.storage.tell(ChangeKind.MOVED, *moved)
        assert scene.take() == [(REMOVED, again["a"].handle)]
        assert set(scene.names()) == {"b", "box"}

    def test_a_move_from_where_nobody_looked(self, scene: Scene) -> None:
        scene.names()
        scene.storage.tell(ChangeKind.MOVED, *scene.storage.shift("box/c", "c"))
        assert scene.take() == [(ADDED, scene.names()["c"].handle)]

    def test_a_move_to_where_nobody_looked(self, scene: Scene) -> None:
        a = scene.names()["a"].handle
        scene.storage.tell(ChangeKind.MOVED, *scene.storage.shift("a", "box/deep/a"))
        assert scene.take() == [(REMOVED, a)]

    def test_missed_changes_are_found(self, scene: Scene) -> None:
        names = scene.names()
        scene.names(names["box"])
        scene.table.view(names["b"])
        scene.storage.drop("a")
        scene.storage.put("b", 9)
        scene.storage.put("box/new")
        scene.storage.put("box/deep/nobody looked")
        scene.storage.tell(ChangeKind.RESCAN, (), folder=True)
        new = scene.names(names["box"])["new"].handle
        assert scene.take() == [(REMOVED, names["a"].handle), (CHANGED, names["b"].handle), (ADDED, new)]

    def test_a_change_that_cannot_be_followed(self, scene: Scene) -> None:
        scene.names()
        scene.storage.tell(ChangeKind.ADDED, ("ghost",))
        scene.storage.tell(ChangeKind.RESCAN, ("ghost",))
        scene.storage.tell(ChangeKind.ADDED, ())
        scene.storage.tell(ChangeKind.REMOVED, ())
        scene.storage.tell(ChangeKind.MOVED, (), ())
        scene.storage.tell(ChangeKind.ADDED, ("a", "below a file"))
        assert scene.take() == []

    def test_a_storage_that_is_gone(self, scene: Scene) -> None:
        a = scene.names()["a"]
        scene.table.remove_storage(scene.root)
        assert scene.take() == [(EventCode.STORE_REMOVED, scene.root.storage_id)]
        scene.storage.tell(ChangeKind.ADDED, scene.storage.put("new"))
        assert scene.take() == []
        for use in (scene.table.view, scene.table.children):
            with pytest.raises(MtpError):
                use(scene.root)
        with pytest.raises(MtpError):
            scene.table.get(a.handle)


class TestOwnChanges:
    def test_what_the_watch_sees_waits(self, scene: Scene) -> None:
        names = scene.names()
        with scene.table.own_change((scene.root, "a"), (scene.root, "z")):
            moved = scene.storage.shift("a", "z")
            scene.storage.tell(ChangeKind.MOVED, *moved)
            assert set(scene.names()) == {"a", "b", "box"}
            scene.table.moved(names["a"], scene.root, "z", self)
        assert scene.names()["z"] is names["a"]
        assert scene.take() == [(REMOVED, names["a"].handle), (ADDED, names["a"].handle)]

    def test_elsewhere_nothing_waits(self, scene: Scene) -> None:
        scene.names()
        with scene.table.own_change((scene.root, "a")):
            scene.storage.tell(ChangeKind.REMOVED, scene.storage.drop("b"))
            assert len(scene.take()) == 1

    def test_below_a_claimed_folder_it_waits(self, scene: Scene) -> None:
        box = scene.names()["box"]
        scene.names(box)
        with scene.table.own_change((scene.root, "box")):
            scene.storage.tell(ChangeKind.REMOVED, scene.storage.drop("box/c"))
            assert scene.take() == []
        assert len(scene.take()) == 1

    def test_too_much_to_keep_is_looked_at_anew(self, scene: Scene) -> None:
        box = scene.names()["box"]
        scene.names(box)
        with scene.table.own_change((scene.root, "box")):
            for number in range(MAX_DEFERRED + 10):
                scene.storage.tell(ChangeKind.ADDED, scene.storage.put(f"box/{number}"))
        assert len(scene.take()) == MAX_DEFERRED + 10
        assert len(scene.names(box)) == MAX_DEFERRED + 12

    def test_a_reservation_becomes_the_object(self, scene: Scene) -> None:
        scene.names()
        handle = scene.table.reserve(scene.root, "new")
        assert scene.table.reserve(scene.root, "new") == handle
        with pytest.raises(MtpError):
            scene.table.get(handle)
        scene.storage.put("new")
        assert scene.table.added(scene.root, "new", scene.storage.stat(("new",))).handle == handle
        assert scene.table.reserve(scene.root, "new") == handle

    def test_a_reservation_that_came_to_nothing(self, scene: Scene) -> None:
        handle = scene.table.reserve(scene.root, "new")
        scene.table.release(scene.root, "new")
        scene.table.release(scene.root, "new")
        assert scene.table.reserve(scene.root, "new") > handle

    def test_a_file_replaced_by_a_folder(self, scene: Scene) -> None:
        old = scene.names()["a"]
        scene.storage.drop("a")
        scene.storage.put("a/")
        new = scene.table.added(scene.root, "a", scene.storage.stat(("a",)))
        assert scene.take() == [(REMOVED, old.handle), (ADDED, new.handle)]

    def test_what_is_left_after_a_half_done_removal(self, scene: Scene) -> None:
        box = scene.names()["box"]
        inner = scene.names(box)
        scene.names(inner["deep"])
        scene.storage.drop("box/c")
        scene.table.refresh(box)
        assert scene.take() == [(REMOVED, inner["c"].handle)]
        scene.storage.drop("box")
        scene.table.refresh(box)
        assert scene.take() == [(REMOVED, box.handle)]
        scene.table.removed(box)
        assert scene.take() == []

    def test_a_move_of_what_is_gone(self, scene: Scene) -> None:
        a = scene.names()["a"]
        scene.table.removed(a)
        with pytest.raises(MtpError):
            scene.table.moved(a, scene.root, "z")


def test_a_change_of_a_removed_storage_is_dropped(scene: Scene) -> None:
    scene.table.remove_storage(scene.root)
    apply(scene.table, scene.root, Change(ChangeKind.RESCAN, ()))
    assert scene.storage.asked == {}
