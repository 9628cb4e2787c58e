"""Keep a copy of a local directory up to date in any shell you can reach."""

__version__ = "1.0.0"
