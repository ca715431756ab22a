"""What labels are: table, tree, cleanup, confidence, location, suggested names."""
