#!/bin/sh
# Starts a server and a VM that sees its folder as a phone; both end when the VM does.
#
#   examples/start-qemu.sh disk.qcow2 ~/share [further QEMU arguments]
#
# The phone is on an xHCI controller. Where QEMU has KVM it is used.
set -eu
[ $# -ge 2 ] || { echo "usage: $0 DISK FOLDER [QEMU-ARGUMENT…]" >&2; exit 2; }
disk=$1 folder=$2
shift 2

run=$(mktemp -d)
: >"$run/banner"
usbredir-mtp --export "$folder" --port 0 >"$run/banner" &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; rm -rf "$run"' EXIT INT TERM

# The server picks a free port and says which.
port=
while [ -z "$port" ]; do
    kill -0 "$server" 2>/dev/null || exit 3
    port=$(sed -n 's/^Listening on .*:\([0-9]*\)$/\1/p' "$run/banner")
    [ -n "$port" ] || sleep 0.1
done

# QEMU 9.2 renamed the option that makes it dial again.
version=$(qemu-system-x86_64 --version | sed -n '1s/[^0-9]*\([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
if [ "${version% *}" -gt 9 ] || { [ "${version% *}" -eq 9 ] && [ "${version#* }" -ge 2 ]; }; then
    again=reconnect-ms=1000
else
    again=reconnect=1
fi

accel=
[ -w /dev/kvm ] && accel="-accel kvm -cpu host"

# shellcheck disable=SC2086  # a list of arguments
qemu-system-x86_64 $accel -m 2048 -drive "file=$disk,if=virtio" \
    -device qemu-xhci,id=xhci \
    -chardev "socket,id=mtp,host=127.0.0.1,port=$port,$again" \
    -device usb-redir,chardev=mtp,bus=xhci.0 "$@"
