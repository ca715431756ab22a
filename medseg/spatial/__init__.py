"""Grids and everything that is done on them, whatever the voxels mean."""
