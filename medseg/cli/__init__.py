"""The `medseg` command: one file a command, thin over the library."""
