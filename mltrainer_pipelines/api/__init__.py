"""The HTTP API: everything a page, a script or another program may know of mlTrainer, or ask of it."""
