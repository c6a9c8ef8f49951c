"""Share a host folder with any virtual machine as a virtual MTP phone, over usbredir."""

__version__ = "0.1.0"
