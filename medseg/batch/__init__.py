"""Directories of scans: every scan done or explained, in worker processes or on a cluster, resumed after a stop."""
