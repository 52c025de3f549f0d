"""``python -m snntorch_brp`` is the ``snntorch-brp`` command."""

from snntorch_brp.cli import main

raise SystemExit(main())
