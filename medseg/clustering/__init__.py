"""Clusters of one scan or of the whole cohort, and what they say of every voxel."""
