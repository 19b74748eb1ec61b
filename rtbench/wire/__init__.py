"""Wire formats without I/O: bytes to values, and back. Nothing here knows a socket, a clock or an event loop.

http.py       several messages in one body, sizes of heads and chunks; sse.py encodes and decodes event streams
websocket.py  the size of a frame
lengths.py    the length before each message of the bare TCP transport
mqtt.py       the packets of MQTT 3.1.1; topics.py checks and matches topics and filters
tls.py        what TLS 1.3 adds, read from record headers
tcp.py        what TCP connections carried, as counted
traffic.py    the bytes that a format needs for what was counted
"""
