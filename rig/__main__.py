"""``python -m rig``: the command line."""

from rig.cli import main

if __name__ == "__main__":
    main()
