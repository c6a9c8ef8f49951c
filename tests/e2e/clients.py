"""The programs that the table compares, and what each does for each action."""

from __future__ import annotations

from tests.e2e.actions import PART
from tests.e2e.cells import Cannot, Cell, Client, Works

_OFFSET = PART.start
_LENGTH = PART.stop - PART.start

_ONE_SHOT = Cannot("It does one thing and ends: each run shows what is there by then.")
_WHOLE = Cannot("It moves whole files only.")
_NO_SUCH = Cannot("It has no command for it.")
_OWN_CLOCK = Cannot("libmtp stamps what it sends with the time of sending.")
_BMP = Cannot("It takes the two halves of a UTF-16 surrogate pair for characters of their own.")
_NO_THUMBNAILS = Cannot("A file system has no thumbnails.")

_THROUGH_THE_GUEST = "Through the guest: the file is fetched and sent again."
_ANDROID = ("--android",)
_EDITABLE = "With `usbredir-mtp --android`: gvfs edits Android's phones only."
_SENT_AGAIN = "The whole file is fetched, and sent again when it is closed."

_FILES: dict[str, Cell] = {
    "list": Works("ls $D $D/sub"),
    "get": Works("cp $D/get.bin out"),
    "put": Works("cp put.txt $D/"),
    "replace": Works("cp put.txt $D/"),
    "rename": Works("mv $D/old-name.txt $D/new-name.txt"),
    "rename-folder": Works("mv $D/old-box $D/new-box"),
    "move": Works("mv $D/moved.txt $D/to/"),
    "copy": Works("cp $D/copied.txt $D/into/", note=_THROUGH_THE_GUEST),
    "delete": Works("rm $D/gone.txt"),
    "delete-folder": Works("rm -r $D/gone"),
    "mkdir": Works("mkdir $D/made"),
    "thumbnail": _NO_THUMBNAILS,
    "time-shown": Works("stat -c %Y $D/old.txt"),
    "time-sent": _OWN_CLOCK,
    "event": Works("wait-for 20 ls $D/event-new.txt; ls $D", before="ls $D"),
    "names": Works("cp $D/'Füße 日本語.txt' out && cp put.txt $D/'новый é.txt'"),
    "emoji": Works("cp $D/'song 🎵.txt' out && cp put.txt $D/'party 🎉.txt'"),
    "part": Works(
        f"dd if=$D/part.bin of=out iflag=skip_bytes,count_bytes skip={_OFFSET} count={_LENGTH}",
        "GET_PARTIAL_OBJECT_64",
    ),
    "edit": Works(
        f"printf MIDDLE | dd of=$D/edit.bin oflag=seek_bytes seek={_OFFSET} conv=notrunc", "SEND_PARTIAL_OBJECT"
    ),
    "append": Works("printf MORE >>$D/end.bin", "SEND_PARTIAL_OBJECT"),
    "truncate": Works("truncate -s 1000 $D/long.bin", "TRUNCATE_OBJECT"),
    "save": Works("cp put.txt $D/.new && mv $D/.new $D/save.txt"),
    "get-empty": Works("cp $D/nothing.txt out; stat -c out:%s out"),
    "put-empty": Works("cp empty.txt $D/"),
    "large": Works("echo crowd:$(ls $D | grep -c crowd-)"),
}
"""What does for programs that mount the phone."""

_JMTPFS: dict[str, Cell] = {
    "rename": Works("mv $D/old-name.txt $D/new-name.txt", note=_THROUGH_THE_GUEST),
    "move": Works("mv $D/moved.txt $D/to/", note=_THROUGH_THE_GUEST),
    "part": Works(
        f"dd if=$D/part.bin of=out iflag=skip_bytes,count_bytes skip={_OFFSET} count={_LENGTH}",
        "GET_OBJECT",
        "The whole file is fetched when it is opened.",
    ),
    "edit": Works(f"printf MIDDLE | dd of=$D/edit.bin oflag=seek_bytes seek={_OFFSET} conv=notrunc", note=_SENT_AGAIN),
    "append": Works("printf MORE >>$D/end.bin", note=_SENT_AGAIN),
    "truncate": Works("truncate -s 1000 $D/long.bin", note=_SENT_AGAIN),
    "save": Works("cp put.txt $D/.new && mv $D/.new $D/save.txt", note=_THROUGH_THE_GUEST),
}

_GO_MTPFS: dict[str, Cell] = {
    "move": Cannot("It refuses to move between folders (ENOSYS)."),
    "time-sent": Cannot("It keeps a time that is set to itself, and sends the time of writing."),
    "event": Cannot("It reads no events, and a folder once."),
    "emoji": _BMP,
    "save": Cannot("It asks for a name that is taken, instead of replacing that file."),
}

_AFT_MOUNT: dict[str, Cell] = {
    "time-sent": Cannot("It sends no times."),
    "event": Cannot("It reads no events, and a folder once."),
    "emoji": _BMP,
}

_GVFS_MOUNT: dict[str, Cell] = {
    "rename": Cannot("gvfs takes a renaming for a move, and forgets the new name; `gio rename` works."),
    "rename-folder": Cannot("gvfs takes a renaming for a move, and forgets the new name; `gio rename` works."),
    "edit": Cannot("gvfs opens a file for writing only from its start or at its end."),
    "truncate": Cannot("gvfs opens a file for writing only from its start or at its end."),
    "save": Cannot(
        "gvfs takes a renaming for a move, deletes the file that is in its way, and forgets the new name; programs "
        "that use gio themselves do not save that way."
    ),
}

_GIO: dict[str, Cell] = {
    "list": Works("gio list $D; gio list $D/sub"),
    "get": Works("gio copy $D/get.bin out"),
    "put": Works("gio copy put.txt $D/put.txt"),
    "replace": Works("gio copy put.txt $D/put.txt"),
    "rename": Works("gio rename $D/old-name.txt new-name.txt"),
    "rename-folder": Works("gio rename $D/old-box new-box"),
    "move": Works("gio move $D/moved.txt $D/to", "MOVE_OBJECT"),
    "copy": Works("gio copy $D/copied.txt $D/into", "COPY_OBJECT"),
    "delete": Works("gio remove $D/gone.txt"),
    "delete-folder": Works("gio remove $D/gone/in.txt && gio remove $D/gone"),
    "mkdir": Works("gio mkdir $D/made"),
    "thumbnail": Works("gvfs-icon $D/photo.jpg", "GET_THUMB", unseen=True),
    "time-shown": Works("gio info -a time::modified $D/old.txt | sed 's/.*://'"),
    "time-sent": _OWN_CLOCK,
    "event": Works(
        "wait-for 20 grep -q event-new.txt monitor; cat monitor; kill $(cat pid)",
        before="gio list $D; gio monitor -d $D >monitor 2>&1 </dev/null & echo $! >pid; gio info $D",
    ),
    "names": Works("gio copy $D/'Füße 日本語.txt' out && gio copy put.txt $D/'новый é.txt'"),
    "emoji": Works("gio copy $D/'song 🎵.txt' out && gio copy put.txt $D/'party 🎉.txt'"),
    "part": _NO_SUCH,
    "edit": _NO_SUCH,
    "append": Works("printf MORE | gio save -a $D/end.bin", "SEND_PARTIAL_OBJECT", _EDITABLE, options=_ANDROID),
    "truncate": _NO_SUCH,
    "save": Works("gio save $D/save.txt <put.txt", "SEND_PARTIAL_OBJECT", _EDITABLE, options=_ANDROID),
    "get-empty": Works("gio copy $D/nothing.txt out; stat -c out:%s out"),
    "put-empty": Works("gio copy empty.txt $D/empty.txt"),
    "large": Works("echo crowd:$(gio list $D | grep -c crowd-)"),
}

_MTP_TOOLS: dict[str, Cell] = {
    "list": Works("mtp-filetree"),
    "get": Works("mtp-getfile $(id get.bin) out"),
    "put": Works("mtp-sendfile put.txt $D"),
    "replace": Works("mtp-sendfile put.txt $D"),
    "rename": _NO_SUCH,
    "rename-folder": _NO_SUCH,
    "move": _NO_SUCH,
    "copy": _NO_SUCH,
    "delete": Works("mtp-delfile -f $D/gone.txt"),
    "delete-folder": Works("mtp-delfile -n $(id gone)"),
    "mkdir": Works("mtp-newfolder made $(id mkdir) 0"),
    "thumbnail": Cannot("mtp-thumb only sends thumbnails."),
    "time-shown": Cannot("It shows no times."),
    "time-sent": _OWN_CLOCK,
    "event": _ONE_SHOT,
    "names": Works("mtp-getfile $(id 'Füße 日本語.txt') out; cp put.txt 'новый é.txt'; mtp-sendfile 'новый é.txt' $D"),
    "emoji": Works("mtp-getfile $(id 'song 🎵.txt') out; cp put.txt 'party 🎉.txt'; mtp-sendfile 'party 🎉.txt' $D"),
    "part": _WHOLE,
    "edit": _WHOLE,
    "append": _WHOLE,
    "truncate": _WHOLE,
    "save": _NO_SUCH,
    "get-empty": Works("mtp-getfile $(id nothing.txt) out; stat -c out:%s out"),
    "put-empty": Works("mtp-sendfile empty.txt $D"),
    "large": Works("echo crowd:$(mtp-filetree | grep -c crowd-)"),
}

_AFT_CLI: dict[str, Cell] = {
    "list": Works('aft-mtp-cli "ls $D" "ls $D/sub"'),
    "get": Works('aft-mtp-cli "get $D/get.bin out"'),
    "put": Works('aft-mtp-cli "put put.txt $D"'),
    "replace": Works('aft-mtp-cli "put put.txt $D"'),
    "rename": Works('aft-mtp-cli "rename $D/old-name.txt new-name.txt"'),
    "rename-folder": Works('aft-mtp-cli "rename $D/old-box new-box"'),
    "move": _NO_SUCH,
    "copy": _NO_SUCH,
    "delete": Works('aft-mtp-cli "rm $D/gone.txt"'),
    "delete-folder": Works('aft-mtp-cli "rm $D/gone"'),
    "mkdir": Works(
        'aft-mtp-cli "cd $D" "mkdir made"',
        note="In the current folder only (`cd` first): given a path it makes the folder in the storage's root.",
    ),
    "thumbnail": Works('aft-mtp-cli "get-thumb $D/photo.jpg out"', "GET_THUMB"),
    "time-shown": Works('aft-mtp-cli "get $D/old.txt out" && stat -c %Y out'),
    "time-sent": Cannot("It sends no times."),
    "event": _ONE_SHOT,
    "names": Works(
        "cp put.txt 'новый é.txt'; "
        r'aft-mtp-cli "get \"$D/Füße 日本語.txt\" out" "put \"новый é.txt\" $D"'
    ),
    "emoji": _BMP,
    "part": _WHOLE,
    "edit": _WHOLE,
    "append": _WHOLE,
    "truncate": _WHOLE,
    "save": _NO_SUCH,
    "get-empty": Works('aft-mtp-cli "get $D/nothing.txt out"; stat -c out:%s out'),
    "put-empty": Works('aft-mtp-cli "put empty.txt $D"'),
    "large": Works('echo crowd:$(aft-mtp-cli "ls $D" | grep -c crowd-)'),
}

_GPHOTO2: dict[str, Cell] = {
    "list": Works("gphoto2 -f $D -l -L | tr \"'/\" '  '"),
    "get": Works("gphoto2 -f $D -p get.bin --filename out"),
    "put": Works("gphoto2 -f $D -u put.txt"),
    "replace": Cannot("It refuses to send a file whose name is taken."),
    "rename": _NO_SUCH,
    "rename-folder": _NO_SUCH,
    "move": _NO_SUCH,
    "copy": _NO_SUCH,
    "delete": Works("gphoto2 -f $D -d gone.txt"),
    "delete-folder": Works("gphoto2 -f $D/gone -D && gphoto2 -f $D -r gone"),
    "mkdir": Works("gphoto2 -f $D -m made"),
    "thumbnail": Works("gphoto2 -f $D -t photo.jpg && mv thumb_photo.jpg out", "GET_THUMB"),
    "time-shown": Works("gphoto2 -f $D -L"),
    "time-sent": Cannot("It sends no times."),
    "event": Works(
        "wait-for 20 grep -q FILEADDED events; cat events; kill $(cat pid); wait-for 10 sh -c '! pgrep gphoto2'",
        before="stdbuf -oL gphoto2 -f $D -L --wait-event=60s >events 2>&1 </dev/null & echo $! >pid; "
        "wait-for 20 grep -q Waiting events",
    ),
    "names": Works(
        "gphoto2 -f $D -p 'Füße 日本語.txt' --filename out; cp put.txt 'новый é.txt'; gphoto2 -f $D -u 'новый é.txt'"
    ),
    "emoji": Cannot("It knows the characters of UCS-2 only, and shows `?` for any other."),
    "part": _WHOLE,
    "edit": _WHOLE,
    "append": _WHOLE,
    "truncate": _WHOLE,
    "save": _NO_SUCH,
    "get-empty": Works("gphoto2 -f $D -p nothing.txt --filename out; stat -c out:%s out"),
    "put-empty": Cannot('libgphoto2 fails before it sends anything ("PTP General Error").'),
    "large": Works("echo crowd:$(gphoto2 -f $D -L | grep -c crowd-)"),
}

CLIENTS = (
    Client("mtp-tools", "mtp-tools", ("mtp-tools", "libmtp9"), _MTP_TOOLS),
    Client("jmtpfs", "mount", ("jmtpfs", "libmtp9"), _FILES | _JMTPFS),
    Client("go-mtpfs", "mount", ("go-mtpfs",), _FILES | _GO_MTPFS),
    Client("gvfs", "gio", ("gvfs-backends", "libmtp9"), _GIO),
    Client("gvfs-fuse", "gvfs-fuse", ("gvfs-fuse", "libmtp9"), _FILES | _GVFS_MOUNT, _ANDROID),
    Client("aft-mtp-cli", "path", ("android-file-transfer",), _AFT_CLI),
    Client("aft-mtp-mount", "mount", ("android-file-transfer",), _FILES | _AFT_MOUNT),
    Client("gphoto2", "gphoto2", ("gphoto2", "libgphoto2-6"), _GPHOTO2),
)
"""The table's columns. gvfs is what GNOME's programs use, gvfs-fuse the way to it for all others."""
