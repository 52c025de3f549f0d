"""The figures and tables that can be made anew, by name."""

from __future__ import annotations

from collections.abc import Callable

from snntorch_brp.experiments import fig5, fig6, fig7, fig8, fig9, ladder, table1, table3
from snntorch_brp.experiments.common import Lab
from snntorch_brp.experiments.report import Result

CATALOGUE: dict[str, Callable[[Lab], Result]] = {
    module.__name__.rpartition(".")[2]: module.reproduce
    for module in (fig5, fig6, fig7, fig8, fig9, table1, table3, ladder)
}
