"""The web pages. They know the API alone: its address and the file of its token."""
