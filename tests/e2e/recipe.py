"""What goes into the guest: its packages, and what is left out of them."""

from __future__ import annotations

from fnmatch import fnmatchcase

PACKAGES = (
    "android-file-transfer",
    "busybox",
    "coreutils",
    "dbus",
    "fuse3",
    "go-mtpfs",
    "gphoto2",
    "gvfs-backends",
    "gvfs-fuse",
    "jmtpfs",
    "kmod",
    "libc-bin",
    "libglib2.0-bin",
    "libmtp-runtime",
    "mtp-tools",
    "udev",
    "umtp-responder",
    "usbutils",
)
"""Packages by name; what they depend on comes along, what they recommend does not."""

MEMORY = 1280
"""Megabytes of RAM: the root file system lies in it, and files on their way."""

KERNELS = {"debian": "linux-image-amd64", "ubuntu": "linux-image-generic"}
"""os-release ID (or an entry of ID_LIKE) -> package that depends on the newest kernel with USB."""

UNWANTED_PACKAGES = (
    # for the maintainer scripts, which never run
    "adduser",
    "cpio",
    "debconf",
    "dpkg",
    "init-system-helpers",
    "initramfs-tools*",
    "klibc-utils",
    "kmod-udeb",
    "libfile-find-rule-perl",
    "libklibc",
    "libnumber-compare-perl",
    "libperl*",
    "libtext-glob-perl",
    "linux-base",
    "linux-firmware",
    "*-microcode",
    "passwd",
    "perl*",
    "systemd-sysv",
    "thermald",
    "usrmerge",
    # graphical halves of programs of which only the command line is used
    "fontconfig*",
    "fonts-*",
    "libegl-mesa0",
    "libgl1-mesa-dri",
    "libglx-mesa0",
    "libllvm*",
    "libqt5*",
    "libqt6*",
    "libwacom*",
    "libxcb-[!1]*",
    "libz3-*",
    "x11-common",
    "xkb-data",
    # halves of gvfs and udisks for other kinds of storage
    "gdisk",
    "e2fsprogs",
    "fdisk",
    "libblockdev*",
    "libldb2",
    "libsmbclient*",
    "parted",
    "samba-libs",
    "udisks2",
)

UNWANTED_PATHS = (
    "boot/System.map-*",
    "boot/config-*",
    "usr/include/*",
    "usr/lib/*/dri/*",
    "usr/lib/*/gconv/[!Ug]*",
    "usr/lib/systemd/system/*",
    "usr/lib/udev/hwdb.d/*",
    "usr/share/X11/*",
    "usr/share/bash-completion/*",
    "usr/share/bug/*",
    "usr/share/doc/*",
    "usr/share/gvfs/remote-volume-monitors/afc.*",
    "usr/share/gvfs/remote-volume-monitors/goa.*",
    "usr/share/gvfs/remote-volume-monitors/udisks2.*",
    "usr/share/icons/*",
    "usr/share/info/*",
    "usr/share/lintian/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "usr/src/*",
    "var/lib/systemd/*",
)

WANTED_PATHS = ("usr/lib/udev/hwdb.d/*-lib*",)
"""Exceptions from UNWANTED_PATHS."""

MODULE_FOLDERS = (
    "drivers/char/virtio_console",
    "drivers/usb/common",
    "drivers/usb/core",
    "drivers/usb/gadget",
    "drivers/usb/host",
    "drivers/virtio",
    "fs/configfs",
    "fs/fuse",
)
"""Where the guest's kernel modules and what they depend on lie, below kernel/."""


def wants_package(name: str) -> bool:
    """Whether a package that the resolver named is downloaded at all."""
    return not any(fnmatchcase(name, pattern) for pattern in UNWANTED_PACKAGES)


def wants_path(path: str) -> bool:
    """Whether a file of a package, named from the root without a leading slash, is kept."""
    _, is_module, below = path.partition("/kernel/")
    if path.startswith("usr/lib/modules/") and is_module:
        return below.startswith(MODULE_FOLDERS)
    wanted = any(fnmatchcase(path, pattern) for pattern in WANTED_PATHS)
    return wanted or not any(fnmatchcase(path, pattern) for pattern in UNWANTED_PATHS)
