"""A virtual USB device of the still-image class: descriptors, control requests, endpoints."""
