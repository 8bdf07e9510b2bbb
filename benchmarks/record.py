"""What every benchmark shares: the dated JSON file in results/, with the machine and the versions."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from tidegate.training.surroundings import surroundings

RESULTS = Path(__file__).parent / "results"


def write_result(name: str, protocol: str, figures: dict[str, Any], elsewhere: Path | None = None) -> Path:
    """Write one result into results/, or elsewhere; returns its file."""
    day = datetime.date.today().isoformat()
    content = {"benchmark": name, "date": day, "protocol": protocol, "machine": surroundings(), **figures}
    RESULTS.mkdir(exist_ok=True)
    path = elsewhere or RESULTS / f"{day}-{name}.json"
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
