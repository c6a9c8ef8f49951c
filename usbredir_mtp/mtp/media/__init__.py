"""What media files say of themselves, and small pictures of them; needs the extra `usbredir-mtp[media]`.

Files are parsed in a process of their own, which may do nothing else; only `images` and `tags`, which run there,
import the libraries for it. `media.Media` is the whole interface.
"""
