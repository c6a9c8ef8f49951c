"""usbredir 0.7 without I/O: the usb-host's side."""
