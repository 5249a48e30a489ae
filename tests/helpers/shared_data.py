"""Where real games and problems lie beside the checkout; tests that need them skip where they do not."""

from pathlib import Path

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
ALFWORLD = DATA / "alfworld"
