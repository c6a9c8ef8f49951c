"""Plug the phone into a VM that is running: over QEMU's machine monitor, or with libvirt's virsh."""
