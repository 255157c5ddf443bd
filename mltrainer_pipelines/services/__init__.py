"""The processes of an installation: its home, the supervisor of `mltrainer up`, and the demo that drives them."""
