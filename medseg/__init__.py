"""medseg: label-free segmentation of 3D medical scans."""

__version__ = "0.1.0"
