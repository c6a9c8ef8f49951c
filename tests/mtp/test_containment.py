from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from usbredir_mtp.mtp import containment, syscalls
from usbredir_mtp.mtp.containment import LISTING, Root, by_components, by_openat2, encode_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

needs_openat2 = pytest.mark.skipif(not syscalls.has_openat2(), reason="this kernel has no openat2")


@pytest.fixture(params=[pytest.param(by_openat2, marks=needs_openat2), by_components])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    export = tmp_path / "export"
    (export / "a" / "b").mkdir(parents=True)
    (export / "a" / "b" / "file").write_bytes(b"inside")
    (tmp_path / "outside" / "b").mkdir(parents=True)
    (tmp_path / "outside" / "b" / "file").write_bytes(b"secret")
    with closing(Root(export, request.param)) as root:
        yield root


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def entries(fd: int) -> list[str]:
    with os.scandir(fd) as found:
        return [entry.name for entry in found]


def read(root: Root, path: tuple[str, ...]) -> bytes:
    fd, _ = root.open_file(path, os.O_RDONLY)
    with os.fdopen(fd, "rb") as file:
        return file.read()


def test_opens_what_is_inside(root: Root) -> None:
    assert read(root, ("a", "b", "file")) == b"inside"
    assert root.stat(("a", "b", "file")).st_size == 6
    assert stat.S_ISDIR(root.stat(()).st_mode)
    fd = root.open_folder((), LISTING)
    try:
        assert entries(fd) == ["a"]
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0b", "../outside"])
@pytest.mark.parametrize("position", [0, 1])
def test_impossible_names(root: Root, name: str, position: int) -> None:
    path = (name, "file") if position == 0 else ("a", name)
    for use in (root.stat, root.open_folder, lambda path: root.open_file(path, os.O_RDONLY)):
        with pytest.raises(OSError, match="Invalid argument") as caught:
            use(path)
        assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("surrogate", [0xD800, 0xDFFF, 0xDC00 + ord("/"), 0xDC00])
def test_text_that_no_file_system_holds(surrogate: int) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011  (the number is what matters)
        encode_name(f"a{chr(surrogate)}")
    assert caught.value.errno == errno.EILSEQ


def test_names_are_bytes(root: Root) -> None:
    assert encode_name("\udcff\u00e9") == b"\xff\xc3\xa9"
    (Path(root.path) / os.fsdecode(b"\xff")).mkdir()
    assert stat.S_ISDIR(root.stat(("\udcff",)).st_mode)


def test_long_names(root: Root) -> None:
    longest = "n" * 255
    with root.parent(("a", longest)) as (folder, name):
        os.mkdir(name, dir_fd=folder)
    assert stat.S_ISDIR(root.stat(("a", longest)).st_mode)
    for path in (("a", "n" * 256), ("n" * 256, "a")):
        with pytest.raises(OSError) as caught:  # noqa: PT011
            root.stat(path)
        assert caught.value.errno == errno.ENAMETOOLONG


def test_paths_longer_than_the_kernel_takes(root: Root) -> None:
    path: tuple[str, ...] = ()
    for level in range(25):
        path = (*path, f"{level:0200}")
        with root.parent(path) as (folder, name):
            os.mkdir(name, dir_fd=folder)
    assert len("/".join(path)) > 4096
    os.close(root.open_folder(path, LISTING))
    assert stat.S_ISDIR(root.stat(path).st_mode)


def link_at(export: Path, component: int) -> tuple[str, ...]:
    if component == 0:
        (export / "a").rename(export / "kept")
        (export / "a").symlink_to(export.parent / "outside")
    elif component == 1:
        (export / "a" / "b").rename(export / "kept")
        (export / "a" / "b").symlink_to("../../outside/b")
    else:
        (export / "a" / "b" / "file").rename(export / "kept")
        (export / "a" / "b" / "file").symlink_to("../../../outside/b/file")
    return ("a", "b", "file")


@pytest.mark.parametrize("component", [0, 1, 2])
def test_links_lead_nowhere(root: Root, tmp_path: Path, component: int) -> None:
    path = link_at(tmp_path / "export", component)
    expected = errno.ENOENT if component == 2 else errno.ENOTDIR
    with pytest.raises(OSError) as caught:  # noqa: PT011
        root.open_file(path, os.O_RDONLY)
    assert caught.value.errno == expected
    if component == 2:
        assert stat.S_ISLNK(root.stat(path).st_mode)
    else:
        with pytest.raises(NotADirectoryError):
            root.stat(path)
        with pytest.raises(NotADirectoryError):
            root.open_folder(path[: component + 1], LISTING)


def test_links_inside_of_the_export_lead_nowhere_either(root: Root, tmp_path: Path) -> None:
    (tmp_path / "export" / "link").symlink_to("a")
    with pytest.raises(NotADirectoryError):
        root.stat(("link", "b"))


def test_a_file_is_no_folder(root: Root) -> None:
    with pytest.raises(NotADirectoryError):
        root.stat(("a", "b", "file", "x"))
    with pytest.raises(NotADirectoryError):
        root.open_folder(("a", "b", "file"))
    with pytest.raises(IsADirectoryError):
        root.open_file(("a", "b"), os.O_RDONLY)


def make_socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as server:
        fd = os.open(path.parent, os.O_PATH)  # a socket's address has room for 107 bytes only
        server.bind(f"/proc/self/fd/{fd}/{path.name}")
        os.close(fd)


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [make_fifo, make_socket])
@pytest.mark.parametrize("access", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
def test_special_files_are_never_opened(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], access: int
) -> None:
    make(tmp_path / "export" / "special")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda *_args, **_kwargs: pytest.fail("was opened"))
        with pytest.raises(FileNotFoundError):
            root.open_file(("special",), access)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("access", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
@pytest.mark.parametrize("make", [make_fifo, make_socket])
def test_special_files_put_in_a_files_place_do_not_block(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], access: int
) -> None:
    make(tmp_path / "export" / "special")
    before = open_fds()
    checked: list[os.stat_result] = []

    def once_fooled(status: os.stat_result) -> None:
        checked.append(status)
        if len(checked) > 1:
            require_file(status)

    require_file = containment.require_file
    monkeypatch.setattr(containment, "require_file", once_fooled)
    with pytest.raises(FileNotFoundError):
        root.open_file(("special",), access)
    assert checked
    assert open_fds() == before


def test_an_open_file_blocks_again(root: Root) -> None:
    fd, _ = root.open_file(("a", "b", "file"), os.O_RDONLY)
    try:
        assert os.get_blocking(fd)
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_the_root_has_no_parent(root: Root) -> None:
    with pytest.raises(PermissionError), root.parent(()):
        pass


def test_no_descriptor_is_left(root: Root, tmp_path: Path) -> None:
    (tmp_path / "export" / "link").symlink_to("a")
    before = open_fds()
    for path in [("a", "b", "file"), ("a", "x"), ("link", "b"), ("a", "b", "file", "x"), ("a", "..")]:
        for use in (root.stat, lambda path: read(root, path)):
            with suppress(OSError):
                use(path)
    assert open_fds() == before


def test_a_root_that_is_made_again_is_found(root: Root, tmp_path: Path) -> None:
    before = open_fds()
    (tmp_path / "export").rename(tmp_path / "old")
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "new").write_bytes(b"new")
    assert read(root, ("new",)) == b"new"
    assert open_fds() == before


def test_a_removed_root_is_missing_until_it_is_back(root: Root, tmp_path: Path) -> None:
    (tmp_path / "export" / "a" / "b" / "file").unlink()
    for folder in ("a/b", "a", ""):
        (tmp_path / "export" / folder).rmdir()
    with pytest.raises(FileNotFoundError):
        root.stat(("a",))
    (tmp_path / "export" / "a").mkdir(parents=True)
    with pytest.raises(FileNotFoundError), root.parent(("b",)) as (folder_fd, name):
        os.mkdir(name, dir_fd=folder_fd)  # the one operation that finds out
    with root.parent(("b",)) as (folder_fd, name):
        os.mkdir(name, dir_fd=folder_fd)
    assert (tmp_path / "export" / "b").is_dir()


def test_something_else_at_the_roots_path_is_seen_by_its_listing(root: Root, tmp_path: Path) -> None:
    (tmp_path / "export").rename(tmp_path / "old")
    (tmp_path / "export" / "mounted").mkdir(parents=True)
    fd = root.open_folder((), LISTING)
    try:
        assert entries(fd) == ["mounted"]
    finally:
        os.close(fd)


def test_a_new_root_that_cannot_be_listed_is_one_line_in_the_log(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = os.open

    def sandboxed(path: str | bytes, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_DIRECTORY and not flags & os.O_PATH:
            raise PermissionError(errno.EACCES, "denied")
        return real(path, flags, *rest, **more)

    root.stat(())
    assert not caplog.records
    (tmp_path / "export").rename(tmp_path / "old")
    (tmp_path / "export").mkdir()
    monkeypatch.setattr(os, "open", sandboxed)
    root.stat(())
    root.stat(())
    [record] = caplog.records
    assert record.message.startswith(f"{tmp_path / 'export'} is another folder now, and cannot be listed: denied")


def test_a_root_must_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        Root(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        Root(tmp_path / "missing")


def test_the_root_itself_may_be_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with closing(Root(tmp_path / "link")) as root:
        assert root.path == os.path.realpath(tmp_path / "real")
        os.close(root.open_folder(()))


def test_closing_twice(tmp_path: Path) -> None:
    root = Root(tmp_path)
    root.close()
    root.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        root.stat(("a",))


def test_kernels_without_openat2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(syscalls, "_OPENAT2", {})
    syscalls.has_openat2.cache_clear()
    try:
        assert containment.best_resolver() is by_components
        with closing(Root(tmp_path)) as root:
            os.close(root.open_folder((), LISTING))
    finally:
        syscalls.has_openat2.cache_clear()


@needs_openat2
@pytest.mark.parametrize(
    ("path", "code"),
    [(b"..", errno.EXDEV), (b"/", errno.EXDEV), (b"link", errno.ELOOP), (b"none", errno.ENOENT)],
)
def test_openat2_reports_the_kernels_errors(tmp_path: Path, path: bytes, code: int) -> None:
    (tmp_path / "link").symlink_to(".")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError) as caught:  # noqa: PT011
            syscalls.openat2(fd, path, os.O_RDONLY)
        assert caught.value.errno == code
    finally:
        os.close(fd)


@needs_openat2
def test_interrupted_calls_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [errno.EAGAIN, errno.EINTR, 0]

    class Libc:
        @staticmethod
        def syscall(*_args: object) -> int:
            return -1 if outcomes[0] else 7

    monkeypatch.setattr(syscalls, "_libc", Libc)
    monkeypatch.setattr("ctypes.get_errno", lambda: outcomes.pop(0))
    assert syscalls.openat2(0, b"a", 0) == 7
    outcomes[:] = [errno.EAGAIN] * 1000
    with pytest.raises(BlockingIOError):
        syscalls.openat2(0, b"a", 0)
    assert outcomes  # it gave up


@needs_openat2
@pytest.mark.parametrize("resolve", [by_openat2, by_components])
@pytest.mark.parametrize("component", [0, 1, 2])
def test_swapped_components_never_let_anybody_out(
    tmp_path: Path, resolve: Callable[[int, Sequence[bytes], int], int], component: int
) -> None:
    export = tmp_path / "export"
    (export / "a" / "b").mkdir(parents=True)
    (export / "a" / "b" / "file").write_bytes(b"inside")
    (tmp_path / "outside" / "b").mkdir(parents=True)
    (tmp_path / "outside" / "b" / "file").write_bytes(b"secret")
    victim = export.joinpath(*("a", "b", "file")[: component + 1])
    link = tmp_path / "link"
    link.symlink_to(tmp_path.joinpath(*("outside", "b", "file")[: component + 1]))
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            syscalls.renameat2(-100, str(victim), -100, str(link), flags=2)  # RENAME_EXCHANGE

    attacker = threading.Thread(target=swap)
    seen: dict[bytes, int] = {}
    with closing(Root(export, resolve)) as root:
        attacker.start()
        try:
            for rounds in range(100_000):
                if rounds > 3000 and len(seen) > 1:
                    break
                try:
                    outcome = read(root, ("a", "b", "file"))
                except OSError as error:
                    outcome = errno.errorcode[error.errno or 0].encode()
                seen[outcome] = seen.get(outcome, 0) + 1
        finally:
            done.set()
            attacker.join()
    assert b"secret" not in seen
    assert set(seen) <= {b"inside", b"ENOENT", b"ENOTDIR"}
    assert len(seen) > 1, "the race never happened"
