"""``python -m filerep`` is file-replicator."""

from filerep.command import leave
from filerep.replicate import main

if __name__ == "__main__":
    leave(main())
