"""``python -m adasde``."""

from adasde.cli import main

if __name__ == "__main__":
    main()
