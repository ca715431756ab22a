"""The programs: folders, order, failures, progress, exit codes."""
