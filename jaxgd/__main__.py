"""`python -m jaxgd`, and the command `jaxgd`."""

import sys


def main() -> None:
    """Run the command line, if the library that reads it is there."""
    try:
        from jaxgd.cli import command_line
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        message = 'jaxgd: the command line needs click: pip install "jaxgd[cli]"'
        print(message, file=sys.stderr)
        sys.exit(2)
    command_line(prog_name="jaxgd")


if __name__ == "__main__":
    main()
