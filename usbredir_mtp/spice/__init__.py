"""A client of SPICE's main and usbredir channels, without I/O: bytes in, bytes and facts out."""
