"""Runs the command line: `python -m parfocal.cli`."""

from parfocal.cli import main

if __name__ == "__main__":
    main()
