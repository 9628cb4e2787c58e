"""``python -m filerep`` is file-replicator."""

from filerep.replicate import main

if __name__ == "__main__":
    raise SystemExit(main())
