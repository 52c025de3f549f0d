"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_code_of_the_readme_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 2
    code = "\n".join(blocks).replace("epochs=5", "epochs=1")
    code = code.replace("train, test = ", "from snntorch_brp.data.loader import head\ntrain, test = ", 1)
    code = code.replace("load_digits(train=True)", "head(load_digits(train=True), 200)")
    names: dict[str, object] = {}
    exec(compile(code, str(README), "exec"), names)
    assert all(p.grad is None for p in names["net"].parameters())  # the last loop ended with zero_grad
    assert names["loss"].item() > 0
