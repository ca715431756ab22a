"""The module's logic, apart from Qt: `program` needs nothing of Slicer, `scene` its scene only."""
