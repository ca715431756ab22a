"""What the server of worker processes imports while the command itself does; workers are forked from it."""

from medseg.runtime.monai_parts import import_monai_late

import_monai_late()

import medseg.batch.worker  # noqa: E402, F401 - after MONAI comes in parts
