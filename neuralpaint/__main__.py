"""`python -m neuralpaint` is the command `neuralpaint`."""

from .cli import app

if __name__ == "__main__":
    app(prog_name="neuralpaint")
