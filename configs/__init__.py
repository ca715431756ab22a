"""Complete commented settings, one file a starting point."""
