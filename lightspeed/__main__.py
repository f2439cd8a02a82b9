"""Start from the command line: `python -m lightspeed`, or `lightspeed` when installed."""

import sys

if sys.version_info < (3, 12):  # noqa: UP036
    sys.exit("lightspeed needs Python 3.12 or 3.13; this is Python %d.%d" % sys.version_info[:2])  # noqa: UP031


def main() -> None:
    from lightspeed.cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
