"""``python -m costplan``: the same command line where the script is not on the PATH."""

from costplan.cli.app import run

if __name__ == "__main__":
    run()
