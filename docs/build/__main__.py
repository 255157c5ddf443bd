"""Write the pages that are made of declarations, and the table of sessions: `make docs`, or `python -m docs.build` in the
project's folder."""

from pathlib import Path

from docs.build.features import features_page
from docs.build.models import models_page
from docs.build.sessions import sessions_module
from docs.build.tables import tables_page

for name, page in {"features": features_page, "models": models_page, "tables": tables_page}.items():
    Path(__file__).parents[1].joinpath(f"{name}.md").write_text(page(), encoding="utf-8")
Path(__file__).parents[2].joinpath("mltrainer_pipelines/market/xnys.py").write_text(sessions_module(), encoding="utf-8")
