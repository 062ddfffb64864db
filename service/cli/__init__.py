"""The `provision` command: parse, call one operation, render."""
