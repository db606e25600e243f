"""``python -m adasde``."""

from adasde.cli.main import main

if __name__ == "__main__":
    main()
