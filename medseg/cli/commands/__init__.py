"""One file a command: what it is asked with, and what it does; nothing heavy is imported before it is done."""
