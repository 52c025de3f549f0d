"""Where the ``snntorch-brp`` command starts: Ctrl-C ends it in one line, also while it is still importing.

It lies beside the package and not in it, since whatever is in a package is run after the package itself is imported.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run ``snntorch-brp`` and return its exit code."""
    try:
        from snntorch_brp.cli import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("snntorch-brp: interrupted\n")
        return 130
