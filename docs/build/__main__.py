"""Write the pages that are made of declarations: `make docs`, or `python -m docs.build` in the project's folder."""

from pathlib import Path

from docs.build.features import features_page
from docs.build.models import models_page
from docs.build.tables import tables_page

for name, page in {"features": features_page, "models": models_page, "tables": tables_page}.items():
    Path(__file__).parents[1].joinpath(f"{name}.md").write_text(page(), encoding="utf-8")
