"""The machine: device, memory, arrays beyond it."""
