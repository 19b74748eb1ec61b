"""Wire formats without I/O: bytes in, values out, and back. Nothing here knows a socket, a clock or an event loop."""
