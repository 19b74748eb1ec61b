"""The name of the lean clients in a result."""

from importlib.metadata import version


def software() -> str:
    """Return what speaks, with its version."""
    return f"rtbench {version('rtbench')} lean client"
