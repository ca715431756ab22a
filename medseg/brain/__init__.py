"""Brain extraction: a mask of the brain in the scan of a head, made by a tool that is installed."""
