"""Conversations from files: one module per format, a table of them in `forms`, and the checks that all of them pass."""
