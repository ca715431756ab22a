"""What it should look like: phantoms of known truth, and real scans that installed packages ship."""
