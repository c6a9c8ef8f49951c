"""`python -m usbredir_mtp`."""

from usbredir_mtp.cli import main

if __name__ == "__main__":
    main()
