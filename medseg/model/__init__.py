"""What a fit has learned, how it is fitted, kept and used."""
