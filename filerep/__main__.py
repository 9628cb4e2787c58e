"""``python -m filerep`` is file-replicator."""

from filerep.replicate import main

raise SystemExit(main())
