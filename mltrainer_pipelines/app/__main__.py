"""Serve the pages on 127.0.0.1: `python -m mltrainer_pipelines.app --port 8501 --api URL --token-file FILE`."""

import argparse
import os
import sys
from pathlib import Path

_LIGHT = {
    "primaryColor": "#1d4ed8",
    "textColor": "#111827",
    "linkColor": "#1d4ed8",
    "redColor": "#b91c1c",
    "redTextColor": "#991b1b",
    "greenTextColor": "#166534",
    "orangeTextColor": "#92400e",
    "blueTextColor": "#1e40af",
    "grayTextColor": "#4b5563",
}
_DARK = {
    "primaryColor": "#1d4ed8",
    "textColor": "#f3f4f6",
    "linkColor": "#93c5fd",
    "redTextColor": "#fca5a5",
    "greenTextColor": "#86efac",
    "orangeTextColor": "#fdba74",
    "blueTextColor": "#93c5fd",
    "grayTextColor": "#d1d5db",
}
_OPTIONS: dict[str, str | list[str]] = {
    "server.address": "127.0.0.1",
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.showEmailPrompt": "false",
    "server.allowedHosts": ["127.0.0.1", "localhost"],
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "theme.chartCategoricalColors": '["#2563eb", "#d97706", "#059669", "#7c3aed", "#dc2626", "#0891b2"]',
    **{f"theme.light.{name}": value for name, value in _LIGHT.items()},
    **{f"theme.dark.{name}": value for name, value in _DARK.items()},
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve mlTrainer's pages on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--api", default="http://127.0.0.1:8000", help="address of the API")
    parser.add_argument("--token-file", required=True, help="file with the API's token")
    given = parser.parse_args()
    os.environ["MLTRAINER_API_URL"] = given.api
    os.environ["MLTRAINER_API_TOKEN_FILE"] = given.token_file
    page = Path(__file__).with_name("main.py")
    chosen = {**_OPTIONS, "server.port": str(given.port)}
    options = [f"--{name}={one}" for name, value in chosen.items() for one in ([value] if isinstance(value, str) else value)]
    command = [sys.executable, "-m", "streamlit", "run", str(page), *options]
    os.execv(sys.executable, command)  # noqa: S606  replaces this process, so that signals reach Streamlit


if __name__ == "__main__":
    main()
